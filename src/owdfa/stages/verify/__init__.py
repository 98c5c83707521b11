"""Check an evidence report: hash, replay and compute everything anew, and compare.

1. The journal: every line fits, and the report's hash is that of one of them.
2. The inputs: each has the SHA-256 that its verdict is of.
3. The model: its weights have the SHA-256 that the verdicts rest on.
4. The verdicts: computed anew from the inputs, they are those of the case.
5. The page: made anew from the case, the inputs and the run, it is this page, to the last byte.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from owdfa.attribution.attributor import AttributeOptions, Attributor
from owdfa.attribution.video import attribute_files
from owdfa.case import Case, Item, check
from owdfa.errors import UserError
from owdfa.files import holds_mark
from owdfa.inference.lists import ImageFile
from owdfa.progress import OnProgress, no_progress
from owdfa.runs import checkpoint
from owdfa.stages.evidence.content import gather
from owdfa.stages.evidence.data import Evidence
from owdfa.stages.evidence.networks import Network, Places, start_networks
from owdfa.stages.evidence.page import DATA_END, DATA_START, MARK, render
from owdfa.stages.report.wording import counted
from owdfa.stages.verify.differences import compare_pages, compare_values

_WHAT = "an evidence report (owdfa report makes one of a case)"
_SOFTWARE = ("engine", "decoder", "version")  # may be others elsewhere: numbers decide


@dataclass
class Verified:
    """What came of it.

    Attributes:
        differences: A line each; none where all holds.
        notes: What a reader should know, and what is no difference.
        summary: What was compared, in a line.
    """

    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    summary: str = ""


def verify(
    page: Path,
    case: Path,
    *,
    runs: Sequence[Path] = (),
    split: Path | None = None,
    store: Path | None = None,
    on_progress: OnProgress = no_progress,
) -> Verified:
    """Check an evidence report against the case and the run that it is of.

    Args:
        page: The report.
        case: The case.
        runs: The runs that its verdicts rest on, where they have moved.
        split: Folder of the split of the run, where it has moved.
        store: Folder of its crops, where they have moved.
        on_progress: Called with (inputs done, inputs in all).

    Raises:
        UserError: ``page`` is no such report or of another case, an input is missing, or the run
            is missing or another.
    """
    text = _read_page(page)
    stated = _stated(page, text)
    found = Verified(check(case))
    if found.differences:  # what the case says is not known
        return found
    opened = Case.open(case)
    found.notes += opened.notes
    if stated.case != opened.id:
        raise UserError(f"{page}: is of the case {stated.case}, and {case} is {opened.id}")
    until = next((entry.seq for entry in opened.entries if entry.hash == stated.head), None)
    if until is None:
        found.differences.append(
            f"{page}: its hash of the journal is not that of any line of {opened.journal.path}:"
            " lines were removed there, or one of the two was altered"
        )
        return found
    found.notes += _superseded(page, opened, until)
    networks = start_networks(opened, Places(runs, split, store), until)
    items = list(opened.items(until))
    changed = list(_changed_inputs(opened, items))
    found.differences += changed
    for network in networks.values():
        found.differences += check_weights(network)
    _attribute_again(found, opened, items, networks, on_progress)
    if not changed:  # a page made anew would show other files
        made = render(gather(opened, networks, until))
        found.differences += compare_pages(page, text, made)
    found.summary = (
        f"{counted(len(items), 'input')}, {counted(until, 'line')} of the journal; every verdict"
        " and every number on the page were computed anew"
    )
    return found


def _superseded(page: Path, case: Case, until: int) -> list[str]:
    """That verdicts of a page no longer hold, where the case has later ones of its inputs."""
    later = [
        row
        for row in case.items().rows
        if row.seq > until and row.earlier and row.earlier[0] <= until
    ]
    if not later:
        return []
    return [
        f"{page}: of {counted(len(later), 'input')} the case has later verdicts, which hold now (up"
        f" to line {max(row.seq for row in later)} of its journal); owdfa report {case.folder} -o"
        " NEW.html shows them"
    ]


def _read_page(page: Path) -> str:
    try:
        if not holds_mark(page, MARK):
            raise UserError(f"{page}: is not {_WHAT}, or was edited so that it no longer is one")
        return page.read_bytes().decode()
    except FileNotFoundError:
        raise UserError(f"{page}: no such file; {_WHAT} is needed here") from None
    except OSError as error:
        raise UserError(f"{page}: cannot be read ({error.strerror}); make it readable") from None
    except UnicodeDecodeError:
        raise UserError(f"{page}: was edited: it is no longer UTF-8; make it again") from None


def _stated(page: Path, text: str) -> Evidence:
    """The data of a page, as it stands in it."""
    _, start, rest = text.partition(DATA_START)
    data, end, _ = rest.partition(DATA_END)
    try:
        if not (start and end):
            raise ValueError
        return Evidence.model_validate_json(data)
    except (ValueError, ValidationError):
        raise UserError(
            f"{page}: was edited, or is of another version: its data cannot be read; make it"
            " again with owdfa report"
        ) from None


def _changed_inputs(case: Case, items: Sequence[Item]) -> Iterator[str]:
    """A line for each input that is no longer the one that its verdict is of.

    Raises:
        UserError: One is missing.
    """
    for item in items:
        place, digest = case.find_input(item), item.verdict.sha256
        if digest is None:  # it could not be read when it was attributed
            continue
        try:
            with place.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise UserError(
                f"{place}: the input {item.verdict.path!r} is not there ({error.strerror}); put the"
                " file back: it has the SHA-256 " + digest
            ) from None
        if found != digest:
            yield f"{place}: has the SHA-256 {found}, in the case {digest}"


def check_weights(network: Network) -> Iterator[str]:
    """A line where the file of weights is not what the run says; an ONNX file checks itself."""
    predictor, wanted = network.predictor, network.attribution.provenance.weights_digest
    if predictor.run is None:
        return
    folder = checkpoint.current(checkpoint.selected(predictor.source, predictor.run))
    path = None if folder is None else folder / checkpoint.WEIGHTS
    if path is not None and path.is_file():
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != wanted:
            yield f"{path}: has the SHA-256 {found}, in the case {wanted}"


def _attribute_again(
    found: Verified,
    case: Case,
    items: Sequence[Item],
    networks: dict[str, Network],
    on_progress: OnProgress,
) -> None:
    """Compute the verdicts anew, and add a line for each difference."""
    done = 0
    readable = [item for item in items if item.verdict.sha256 is not None]
    for digest, network in networks.items():
        stated = network.attribution
        options = AttributeOptions(
            min_size=stated.min_size,
            min_quality=stated.min_quality,
            frame_interval=stated.frame_interval,
        )
        attributor = Attributor.open(network.predictor.source, options)
        here = attributor.attribution
        found.differences += compare_values(
            stated.model_dump(exclude={"run", *_SOFTWARE}),
            here.model_dump(exclude={"run", *_SOFTWARE}),
            stated.run,
        )
        for name in _SOFTWARE:
            before, now = getattr(stated, name), getattr(here, name)
            if before != now:
                found.notes.append(f"{stated.run}: {name} {before} in the case, {now} here")
        own = [item for item in readable if item.verdict.attribution == digest]
        files = [ImageFile(item.verdict.path, str(case.find_input(item))) for item in own]
        for item, (_, again) in zip(own, attribute_files(attributor, files), strict=True):
            found.differences += compare_values(
                item.verdict.model_dump(exclude={"attribution"}),
                again.model_dump(exclude={"attribution"}),
                item.verdict.path,
            )
            done += 1
            on_progress(done, len(readable))
