"""Turn a run into one page that an analyst and a researcher can read, offline."""

from collections.abc import Sequence
from pathlib import Path

from owdfa.files import check_replaceable, holds_mark, write_text
from owdfa.progress import OnProgress, no_progress

_NUM_STEPS = 4
_MARK = b'<meta name="generator" content="owdfa report">'


def report(
    run: Path,
    output: Path,
    *,
    beside: Sequence[Path] = (),
    split: Path | None = None,
    store: Path | None = None,
    on_progress: OnProgress = no_progress,
) -> Path:
    """Write the report of a run: one HTML file that asks nothing of the network.

    Predictions and scores that the run folder lacks are made first.

    Args:
        run: Folder of a run, as ``train`` writes it.
        output: The HTML file to write.
        beside: Folders of other runs on the same split, whose scores stand beside this run's.
        split: Folder of the split, where it has moved.
        store: Folder of its crops, where they have moved.
        on_progress: Called with the steps done and the steps in all.

    Returns:
        ``output``.

    Raises:
        UserError: A file is missing or damaged, the runs are not of the same split, or
            ``output`` is something other than such a page.
    """
    from owdfa.stages.report.content import gather, other_scores
    from owdfa.stages.report.embedding import project
    from owdfa.stages.report.gallery import describe_types
    from owdfa.stages.report.page import render

    run, output = Path(run), Path(output)
    check_replaceable(output, _is_page)
    evidence = gather(run, split, store)
    others = [other_scores(Path(folder), evidence, split) for folder in beside]
    on_progress(1, _NUM_STEPS)
    types = describe_types(evidence, evidence.store)
    on_progress(2, _NUM_STEPS)
    chart = project(evidence.directions) if evidence.directions is not None else None
    on_progress(3, _NUM_STEPS)
    write_text(output, render(evidence, others, types, chart), _is_page)
    on_progress(_NUM_STEPS, _NUM_STEPS)
    return output


def _is_page(path: Path) -> bool:
    return holds_mark(path, _MARK)
