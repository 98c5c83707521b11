"""Calibrate: what a run's probabilities are worth, and where verdicts may be given."""

from collections.abc import Sequence
from pathlib import Path

from owdfa.attribution.calibrate import calibrate_run
from owdfa.calibration.fit import CalibrateOptions
from owdfa.config import parse_settings
from owdfa.progress import OnProgress, no_progress
from owdfa.records.calibration import Calibration
from owdfa.runs.lock import writing
from owdfa.runs.metadata import RunMetadata


def calibrate(
    run: Path,
    *,
    budget: float = 0.01,
    real: Sequence[str] | None = None,
    split: Path | None = None,
    store: Path | None = None,
    on_progress: OnProgress = no_progress,
) -> Calibration:
    """Calibrate a run by the validation part of its split; writes ``calibration.json`` into it.

    Args:
        run: The run folder.
        budget: Share of held-out groups of which each kind of statement may be false.
        real: Known classes of real images; None for those of the family "real".
        split: Folder of the split, where it has moved.
        store: Folder of its crops, where they have moved.
        on_progress: Called with (images done, images in all).

    Raises:
        UserError: The split has no validation part, a setting does not fit, or the run or its
            images cannot be read.
    """
    given = {"budget": budget, "real": None if real is None else tuple(real)}
    options = parse_settings(CalibrateOptions, given, "calibrate")
    if run.is_file():  # said where it is opened
        return calibrate_run(run, options)
    RunMetadata.read(run)
    with writing(run):
        return calibrate_run(run, options, split, store, on_progress)
