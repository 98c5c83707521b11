"""Turn a case into one page that another person can check: see ``stages.verify``."""

from collections.abc import Sequence
from pathlib import Path

from owdfa.case import Case
from owdfa.files import check_replaceable, holds_mark, write_text
from owdfa.stages.evidence.content import gather
from owdfa.stages.evidence.networks import Places, start_networks
from owdfa.stages.evidence.page import MARK, render


def report_case(
    case: Path,
    output: Path,
    *,
    runs: Sequence[Path] = (),
    split: Path | None = None,
    store: Path | None = None,
) -> list[str]:
    """Write the evidence report of a case: one HTML file that asks nothing of the network.

    The same case, inputs and run give the same page.

    Args:
        case: The case.
        output: The HTML file to write.
        runs: The runs that its verdicts rest on, where they have moved.
        split: Folder of the split of the run, where it has moved.
        store: Folder of its crops, where they have moved.

    Returns:
        What a reader should know of the case's journal.

    Raises:
        UserError: The case or its run is missing or damaged, or ``output`` is something else.
    """
    check_replaceable(output, _is_page)
    opened = Case.open(case)
    networks = start_networks(opened, Places(runs, split, store))
    write_text(output, render(gather(opened, networks)), _is_page)
    return opened.notes


def _is_page(path: Path) -> bool:
    return holds_mark(path, MARK)
