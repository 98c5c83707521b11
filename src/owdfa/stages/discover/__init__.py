"""Discover: group the images of a case that no known type was named for; ids and names last."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from owdfa.case import Case
from owdfa.case.review import discovered, open_review
from owdfa.discovery.density import ALONE, components, dense_groups_among
from owdfa.errors import UserError
from owdfa.images.features import FEATURES
from owdfa.inference.embeddings import keep_embeddings
from owdfa.inference.predictor import Predictor
from owdfa.progress import OnProgress, no_progress
from owdfa.records.clusters import Clusters
from owdfa.records.verdict import FileVerdict
from owdfa.runs.lock import writing
from owdfa.stages.discover.clusters import About, DiscoverOptions, Grouped, Pile, make_clusters
from owdfa.stages.discover.describing import main_verdict
from owdfa.whitening import unit_length

__all__ = ["DiscoverOptions", "discover"]


def discover(
    case: str | Path,
    *,
    run: Path | None = None,
    options: DiscoverOptions | None = None,
    on_progress: OnProgress = no_progress,
) -> Clusters:
    """Group the images of a case that no known type was named for.

    What reviewers decided stays: images that they put into a group, its name, what they rejected.

    Args:
        case: The case.
        run: The run, or exported file, whose embeddings are used; None for the one that the last
            verdict rests on.
        options: How.
        on_progress: Called with (images embedded, images that were not).

    Returns:
        The groups, as they now stand in the case.

    Raises:
        UserError: There is nothing to group, no group is found, or the run is not at hand.
    """
    opened, options = Case.open(case), options or DiscoverOptions()
    pile = Pile.of(opened)
    if len(pile.wanted) < options.min_size:
        raise UserError(
            f"{opened.folder}: nothing to group: {len(pile.wanted)} of {len(pile.files)} images"
            f" have no known type, and a group needs {options.min_size}; attribute more into it"
        )
    predictor = Predictor.open(run or _run_of(opened))
    held = {x for group in open_review(opened).state.groups.values() for x in group.held}
    names = sorted({*pile.wanted, *pile.others, *(held & pile.files.keys())})
    with writing(opened.folder / FEATURES):  # reviewers may go on meanwhile
        kept = keep_embeddings(
            predictor,
            opened.folder,
            {name: pile.places[name] for name in names},
            jobs=options.jobs,
            on_progress=on_progress,
        )
    lost = {names[row] for row in kept.missing(names)}
    missing = len(lost & set(pile.wanted))
    if len(pile.wanted) - missing < options.min_size:
        raise UserError(
            f"{opened.folder}: nothing to group: {missing} of {len(pile.wanted)} images are no"
            " longer where they were; attribute them again, with --copy to keep them in the case"
        )
    images = [name for name in names if name not in lost]
    pile = pile._replace(others=sorted(set(pile.others) - held))
    found = _group(images, unit_length(kept.read(images)), pile, options)
    about = About(opened, predictor, pile, options, missing)
    note = {"run": str(predictor.source), "by": options.by}
    return discovered(opened, lambda review: make_clusters(review, found, about), note=note)


def _run_of(case: Case) -> Path:
    """The run that the last verdict rests on."""
    _, run = case.attributions()[case.items()[-1].verdict.attribution]
    if not run.exists():
        raise UserError(f"{run}: the run of this case is not there; name it with --run")
    return run


def _group(
    images: list[str], embeddings: np.ndarray, pile: Pile, options: DiscoverOptions
) -> Grouped:
    rows, others = components(embeddings), np.isin(images, pile.others)
    if options.by == "density":
        groups = dense_groups_among(rows, others, options.min_size, options.seed)
        remedy = f"lower --min-size ({options.min_size}), or attribute more images into the case"
    else:
        groups = _by_types([pile.files[each] for each in images], others, options.min_size)
        remedy = "try --by density"
    if groups.max(initial=ALONE) == ALONE:
        raise UserError(f"no group among {len(pile.wanted)} images; {remedy}")
    return Grouped(images, embeddings, groups, rows)


def _by_types(files: Sequence[FileVerdict], others: np.ndarray, min_size: int) -> np.ndarray:
    """Groups by the likeliest type, where it is one that the run found: (N,) int64."""
    best = [main_verdict(file).alternatives[:1] for file in files]
    names = np.array([each[0].name if each and each[0].novel else "" for each in best])
    names[others] = ""
    types, places, counts = np.unique(names, return_inverse=True, return_counts=True)
    kept = (types != "") & (counts >= min_size)
    return np.asarray(np.where(kept, np.cumsum(kept) - 1, ALONE)[places])
