"""Promote: named groups of a case become classes of the next manifest.

Rows of the manifest that the run was trained on stay as they are, with their ids: their crops fit.
Images of named groups are added; one that is in the manifest without a class gets it there. The
column ``source`` says of which case and group an image is, and who named it.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from owdfa.case import Case
from owdfa.case.actions import Group
from owdfa.case.lines import PROMOTED
from owdfa.case.review import open_review
from owdfa.errors import UserError
from owdfa.inference.predictor import Predictor
from owdfa.records.manifest import SCHEMA, Manifest
from owdfa.records.rows import sorted_by_id
from owdfa.records.split import Split
from owdfa.records.verdict import FileVerdict
from owdfa.runs.data import find_split


class Promoted(NamedTuple):
    """What was written.

    Attributes:
        classes: Images of each class that was named, those that it had before not counted.
        num_rows: Rows of the manifest.
        filled: Images that were in the manifest without a class.
        missing: Images of named groups that are no longer where they were, and left out.
        commands: What comes next.
    """

    classes: dict[str, int]
    num_rows: int
    filled: int
    missing: int
    commands: list[str]


class _Image(NamedTuple):
    """An image of a named group."""

    group: Group
    file: FileVerdict
    place: Path


def promote(
    case: str | Path,
    output: Path,
    *,
    manifest: Path | None = None,
    run: Path | None = None,
    who: str | None = None,
) -> Promoted:
    """Write the manifest of the next round.

    Args:
        case: The case.
        output: The Parquet file to write.
        manifest: The manifest to add to; None for that of the split that the run was trained on.
        run: The run, where it has moved; None for the one that groups were found by.
        who: Who promotes; None for the user of this process.

    Raises:
        UserError: No group is named, the manifest is not at hand, or an image is of another class
            there.
    """
    opened = Case.open(case)
    images = _named(opened)
    place, attribution = _run_of(opened, run)
    manifest = manifest or _manifest_of(place)
    if output.resolve() == manifest.resolve():
        raise UserError(f"{output}: is the manifest to add to, which stays; choose another -o")
    base = Manifest.read(manifest)
    there = {sha: image for sha, image in images.items() if image.place.is_file()}
    if not there:
        raise UserError(
            f"{opened.folder}: none of the {len(images)} images of named groups is where it was;"
            " attribute them again, with --copy to keep them in the case"
        )
    table, filled = _joined(base, there, opened)
    made = Manifest(sorted_by_id(table), base.dataset, base.store)
    made.write(output)
    classes = _count(there)
    faces, size, fit = attribution
    store, options = base.store or Path("store"), f"--faces {faces} --size {size} --fit {fit}"
    prepared = f"{shlex.quote(str(store))} {options}"
    then = _next_commands(opened.folder, place, _split_of(place), output, prepared)
    about = {"manifest": made.digest(), "output": str(output), "next": then}
    opened.record(PROMOTED, {"classes": classes, **about}, who=who)
    return Promoted(classes, table.num_rows, filled, len(images) - len(there), then)


def _next_commands(
    case: Path, run: Path, split: Path | None, output: Path, store: str
) -> list[str]:
    """What comes next.

    Args:
        case: The case.
        run: That groups were found by.
        split: That it was trained on; None where that is not found, and it cannot be continued.
        output: The manifest.
        store: Where crops are, and the options that they are made with.
    """
    new_split, new_run = output.with_name(f"{output.stem}-split"), run.with_name(f"{run.stem}-2")
    like = [] if split is None else ["--like", split]
    start = [] if split is None else ["--from", run]
    commands = (
        ["split", output, *like, "-o", new_split],
        ["train", "--split", new_split, *start, "-o", new_run],
        ["rescan", case, "--run", new_run],
    )
    made = [shlex.join(["owdfa", *map(str, each)]) for each in commands]
    return [f"owdfa data prepare {shlex.quote(str(output))} -o {store}", *made]


def _named(case: Case) -> dict[str, _Image]:
    """The images of named groups, by SHA-256.

    Raises:
        UserError: There are none.
    """
    groups = list(open_review(case).state.groups.values())
    named = [group for group in groups if group.name and not group.rejected]
    if not named:
        example = next((each.id for each in groups if not each.rejected), None)
        remedy = (
            f"owdfa discover {case.folder} makes groups"
            if example is None
            else f'owdfa review {case.folder} name {example} "..."'
        )
        raise UserError(f"{case.folder}: no group has a name, so there is no class; {remedy}")
    items = {item.verdict.sha256: item for item in case.items()}
    return {
        sha256: _Image(group, items[sha256].verdict, case.find_input(items[sha256]))
        for group in named
        for sha256 in group.members
        if sha256 in items
    }


def _run_of(case: Case, moved: Path | None) -> tuple[Path, tuple[str, int, str]]:
    """The run that groups were found by, and how its crops are made."""
    clusters = open_review(case).clusters
    assert clusters is not None
    for attribution, place in reversed(case.attributions().values()):
        if attribution.provenance.weights_digest == clusters.provenance.weights_digest:
            made = (attribution.faces, attribution.store_size, attribution.fit)
            return moved or place, made
    predictor = Predictor.open(moved or clusters.run)
    return predictor.source, (predictor.faces, predictor.store_size, predictor.fit)


def _manifest_of(run: Path) -> Path:
    """The manifest that a run was trained on.

    Raises:
        UserError: It is not at hand.
    """
    predictor = Predictor.open(run)
    if predictor.run is None:
        raise UserError(
            f"{run}: an exported file does not say what it was trained on; name the manifest with"
            " --manifest"
        )
    split = Split.read(find_split(run, predictor.run, None), ("id", "role"))
    place = Path(split.basis.manifest)
    if not place.is_file():
        raise UserError(f"{place}: the manifest of {run} is not there; name it with --manifest")
    return place


def _split_of(run: Path) -> Path | None:
    """The split that a run was trained on; None where that is not at hand."""
    try:
        metadata = Predictor.open(run).run
        return None if metadata is None else find_split(run, metadata, None)
    except UserError:
        return None


def _joined(base: Manifest, images: Mapping[str, _Image], case: Case) -> tuple[pa.Table, int]:
    """Rows of the manifest with those of the images, and how many of them got a class."""
    rows = base.table.select(["id", "class", "family", "source", "sha256"]).to_pydict()
    seen: set[str] = set()
    filled = 0
    families = {c: f for c, f in zip(rows["class"], rows["family"], strict=True) if c and f}
    for number, sha256 in enumerate(rows["sha256"]):
        image = images.get(sha256)
        if image is None:
            continue
        seen.add(sha256)
        had, name = rows["class"][number], str(image.group.name)
        if had is None:
            rows["class"][number], rows["source"][number] = name, _source(image, case)
            rows["family"][number] = families.get(name)
            filled += 1
        elif had != name:
            raise UserError(
                f"{image.file.path}: is in {image.group.id}, named {name!r}, and of class {had!r}"
                f" in the manifest; owdfa review {case.folder} split {image.group.id}"
                f" {sha256[:12]} takes it out of the group"
            )
    table = base.table
    for column in ("class", "family", "source"):
        index = table.schema.get_field_index(column)
        table = table.set_column(index, column, pa.array(rows[column], pa.string()))
    new = [
        _row(image, case, families.get(str(image.group.name)))
        for sha256, image in sorted(images.items())
        if sha256 not in seen
    ]
    ids = set(rows["id"])
    if taken := [each["id"] for each in new if each["id"] in ids]:
        raise UserError(f"{taken[0]}: is an id of the manifest already; name another --manifest")
    return pa.concat_tables([table, pa.Table.from_pylist(new, schema=SCHEMA)]), filled


def _row(image: _Image, case: Case, family: str | None) -> dict[str, Any]:
    file = image.file
    suffix = Path(file.path).suffix.lower()
    # By content: the same image has the same id, and the same crop, whenever it is promoted.
    id_ = f"case-{case.id}/{file.sha256}{suffix}"
    return {
        "id": id_,
        "path": str(image.place.resolve()),
        "class": image.group.name,
        "family": family,
        "source": _source(image, case),
        "group": id_,
        "width": file.width,
        "height": file.height,
        "format": file.format,
        "bytes": file.num_bytes,
        "sha256": file.sha256,
        "jpeg_quality": file.jpeg_quality,
    }


def _source(image: _Image, case: Case) -> str:
    by = image.group.named
    return f"case {case.id}, {image.group.id}, named by {by.who if by else 'nobody'}"


def _count(images: Mapping[str, _Image]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for image in images.values():
        name = str(image.group.name)
        counts[name] = counts.get(name, 0) + 1
    return counts
