"""Continue a run with other classes: no class that it knows is lost.

``network`` gives the new network the weights of the earlier one, rows of classes matched by name.
``rehearsal`` keeps classes of which no labelled image is left. Here is what must fit.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from owdfa.errors import UserError
from owdfa.images.store import Store
from owdfa.records.split import Split
from owdfa.records.training import UNLABELLED
from owdfa.runs.class_statistics import ClassStatistics
from owdfa.runs.data import find_split
from owdfa.runs.metadata import RunMetadata
from owdfa.runs.run import Run
from owdfa.runs.settings import RunSettings


def known_classes(settings: RunSettings, data: Split) -> tuple[str, ...]:
    """Known classes of a run: the split's, then those that the run it continues knows besides."""
    if settings.continual is None:
        return data.known
    earlier = RunMetadata.read(Path(settings.continual.run)).known
    return data.known + tuple(name for name in earlier if name not in data.known)


def check_continued(settings: RunSettings, data: Split) -> None:
    """Check that the run which settings name can be continued with them, on this split.

    Raises:
        UserError: It cannot.
    """
    if settings.continual is None:
        return
    folder = settings.continual.run
    run = Run.open(folder)
    _check_start(run, settings)
    hidden = [name for name in run.known if name in data.novel]
    if hidden:
        raise UserError(
            f"{folder}: knows {hidden[0]!r} by its labels, which are hidden in the split; split"
            " again with that class among --known, or train anew"
        )
    gone = missing_classes(run, data)
    if gone and settings.labels == "all":
        raise UserError(
            f"{folder}: knows {gone[0]!r}, of which the split has no labelled image; with"
            " labels=all nothing stands for it, so train anew"
        )
    kept = ClassStatistics.read(run.folder)
    lost = [name for name in gone if kept is None or name not in kept.names]
    if lost:
        raise UserError(
            f"{folder}: keeps no statistics of {lost[0]!r}, of which the split has no labelled"
            f" image; make them by that run's own command with --resume, or add such images"
        )


def _check_start(run: Run, settings: RunSettings) -> None:
    """Check that the network can begin with all of the run's."""
    folder, made = run.folder, run.metadata.provenance
    if not run.metadata.complete:
        raise UserError(f"{folder}: is not trained to its end; run its command with --resume first")
    for what, here, there in (
        ("method", settings.method.name, made.method),
        ("backbone", settings.backbone.name, made.backbone),
    ):
        if here != there:
            raise UserError(
                f"{folder}: its {what} is {there}, not {here}; --from continues the same one, and"
                " --weights in its place takes the backbone of a run for another method"
            )
    if made.selection == "oracle" != settings.selection:
        raise UserError(
            f"{folder}: test labels chose its checkpoint, which this run must not know; continue"
            " another run"
        )
    if settings.stages or settings.backbone.weights != str(folder):
        raise UserError(
            f"{folder}: --from begins with the whole network of it; leave out --weights and stages"
        )
    if settings.pseudo_label_confidence is not None:
        raise UserError(
            "pseudo_label_confidence: numbers classes as the earlier run did; leave it out with"
            " --from"
        )


def check_crops(settings: RunSettings, store: Store) -> None:
    """Check that crops are made as those of the run that is continued.

    Raises:
        UserError: They are not.
    """
    if settings.continual is None:
        return
    there, here = RunMetadata.read(Path(settings.continual.run)), store.basis
    taken = there.store_size, there.faces, there.fit
    if (here.size, here.faces, here.fit) != taken:
        raise UserError(
            f"{store.folder}: has crops of {here.size} px, faces {here.faces} and fit {here.fit},"
            f" and {settings.continual.run} was trained on {taken[0]} px, {taken[1]} and"
            f" {taken[2]}; prepare the images as for that run"
        )


def notes_on_test(settings: RunSettings, data: Split) -> tuple[str, ...]:
    """What to say where the run that is continued was trained on images held back here."""
    if settings.continual is None:
        return ()
    run = Run.open(settings.continual.run)
    try:
        place = find_split(run.folder, run.metadata, None)
        seen = Split.read(place, ("id", "role")).with_role("labelled", "unlabelled")
    except UserError:
        return (f"the split of {run.folder} is not found: test images may be known to it",)
    held = data.with_role("validation", "test")
    num = pc.sum(pc.is_in(held["id"], pa.array(seen["id"]))).as_py() or 0
    if not num:
        return ()
    return (
        f"{num} of {len(held)} images held back were trained on by {run.folder}, so that scores are"
        f" too high; split again with --like {place.resolve()}",
    )


def missing_classes(run: Run, data: Split) -> tuple[str, ...]:
    """Classes known to a run of which a split has no labelled image."""
    rows = data.training_rows()
    there = {data.known[label] for label in np.unique(rows.labels[rows.labels != UNLABELLED])}
    return tuple(name for name in run.known if name not in there)
