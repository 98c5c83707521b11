"""Groups of images on the terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from owdfa.case import Entry
    from owdfa.case.actions import Group
    from owdfa.case.review import Review
    from owdfa.records.clusters import Cluster
    from owdfa.stages.rescan import Rescanned
    from owdfa.stages.review import Shown

_NUMBERS = ("images", "stability", "confidence", "log10 LR")
_HEADS = (
    *("group", "name", *_NUMBERS, "nearest known", "since last time"),
    "shared, and rare elsewhere",
)
_WIDE = 120  # columns
_SHOWN = 40  # groups, and images of one
_MOVES = 8  # from one verdict to another, of a kind
_DIGITS = 12  # of a hash


def print_groups(review: "Review", case: Path, head: str) -> None:
    """Print a row a group, the largest first; rejected ones last."""
    from owdfa.case.review import statistics

    groups = sorted(
        review.state.groups.values(),
        key=lambda each: (each.rejected is not None, -len(each.members), each.id),
    )
    measured = statistics(review)
    _print_table([_cells(each, measured.get(each.id)) for each in groups[:_SHOWN]])
    if len(groups) > _SHOWN:
        print(f"  ... and {len(groups) - _SHOWN} more")
    found = review.clusters
    assert found is not None
    missing = f", {found.num_missing} no longer where they were" if found.num_missing else ""
    missing += f", {found.num_videos} videos not looked at" if found.num_videos else ""
    print(
        f"{case}: {len(groups)} groups of {found.num_images} images without a known type,"
        f" {found.num_alone} in none{missing}; head {head[:_DIGITS]}"
    )


def _print_table(rows: list[list[str]]) -> None:
    """Print rows under ``_HEADS``, but for columns of which no row has anything."""
    table = Table(box=None, pad_edge=False)
    filled = [column for column in range(len(_HEADS)) if any(row[column] for row in rows)]
    for column in filled:
        number = _HEADS[column] in _NUMBERS
        table.add_column(
            _HEADS[column],
            justify="right" if number else "left",
            no_wrap=_HEADS[column] != _HEADS[-1],
        )
    for row in rows:
        table.add_row(*(escape(row[column] or "-") for column in filled))
    console = Console()
    console.width = max(console.width, _WIDE)  # a line that wraps is worse than one cut off
    console.print(table)


def _cells(group: "Group", measured: "Cluster | None") -> list[str]:
    name = "(rejected)" if group.rejected else group.name or ""
    start = [group.id, name, str(len(group.members))]
    if measured is None:
        return [*start, "", "", "", "", "split off since", ""]
    nearest = measured.nearest
    change = measured.lineage.words
    if frozenset(measured.members) != group.members:
        change += "; reviewed"
    return [
        *start,
        _number(measured.stability),
        _number(measured.confidence),
        _number(measured.log10_ratio),
        f"{nearest.name} {nearest.probability:.2f}" if nearest else "",
        change,
        ", ".join(f"{each.what} {each.value}" for each in measured.traits if each.is_own)[:60],
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def print_group(shown: "Shown", *, all_: bool) -> None:
    """Print what is known of a group, and its images.

    Args:
        shown: The group.
        all_: Whether to list all of its images.
    """
    group, measured = shown.group, shown.measured
    print(f"{group.id}: {len(group.members)} images, {len(group.held)} of them held by review")
    if group.name and group.named:
        print(f'  named "{group.name}" by {group.named.who}, {group.named.time}')
    if group.rejected:
        print(f"  rejected by {group.rejected.who}, {group.rejected.time}")
    for note in group.notes:
        print(f'  "{note.text}" ({note.by.who}, {note.by.time})')
    if measured is not None:
        _print_measured(measured, shown.paths)
    images = list(shown.paths.items())
    print("images:")
    for sha256, path in images if all_ else images[:_SHOWN]:
        print(f"  {sha256[:_DIGITS]}  {path}")
    if len(images) > _SHOWN and not all_:
        print(f"  ... and {len(images) - _SHOWN} more: --all lists them")


def _print_measured(measured: "Cluster", paths: dict[str, str]) -> None:
    nearest = measured.nearest
    ratio = _number(measured.log10_ratio) or "not given by the method"
    print(
        f"  when found: {len(measured.members)} images; {measured.lineage.words}; stability"
        f" {_number(measured.stability) or 'unknown'} (0.75 is stable); confidence"
        f" {_number(measured.confidence)}; log10 likelihood ratio {ratio}"
    )
    if nearest:
        print(f"  nearest known type: {nearest.name}, mean probability {nearest.probability:.2f}")
    for trait in measured.traits:
        other = "" if trait.elsewhere is None else f" ({trait.elsewhere:.0%} of other groups)"
        print(f"  {trait.what} {trait.value}: {trait.share:.0%}{other}")
    for kind, images in (("central", measured.central), ("borderline", measured.borderline)):
        for image in images:
            print(f"  {kind}  {image[:_DIGITS]}  {paths.get(image, 'no longer in the group')}")


def print_log(lines: "Sequence[tuple[Entry, str]]") -> None:
    """Print a line for each thing that was done."""
    for entry, text in lines:
        print(f"{entry.seq:>5}  {entry.time}  {entry.hash[:_DIGITS]}  {entry.who}: {text}")


def print_rescanned(found: "Rescanned", case: Path, output: Path | None) -> None:
    """Print what changes with another run: by kind, and which verdict turns into which."""
    from owdfa.stages.rescan import HEADINGS

    for kind, heading in HEADINGS.items():
        moves = [(move, num) for move, num in found.moves.most_common() if move.kind == kind]
        if moves:
            print(f"{found.kinds[kind]:>7,}  {heading}")
        for move, num in moves[:_MOVES] if kind != "same" else ():
            row = found.examples[move]
            print(f"  {num:>7,}  {move.before} -> {move.now}, such as {row.path}:")
            print(f"           {row.reason}")
        if len(moves) > _MOVES and kind != "same":
            print(f"           ... and {len(moves) - _MOVES} more such changes")
    for path, reason in found.missing[:_SHOWN]:
        print(f"  left out: {path}: {reason}")
    if len(found.missing) > _SHOWN:
        print(f"  ... and {len(found.missing) - _SHOWN} more")
    done = (
        "the new verdicts hold now; the journal keeps the earlier ones"
        if found.kept
        else "nothing was changed; --keep adds the new verdicts to the case"
    )
    missing = f", {len(found.missing)} left out" if found.missing else ""
    listed = f"; all of them: {output}" if output else ""
    print(
        f"{case}: {found.num_files:,} files by {found.run}{missing}: {found.num_changed:,} of"
        f" {found.kinds.total():,} verdicts are others{listed}; {done}"
    )
