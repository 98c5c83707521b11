"""The networks that the verdicts of a case rest on."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from owdfa.case import Case
from owdfa.errors import UserError
from owdfa.inference.predictor import Predictor
from owdfa.records.verdict import Attribution
from owdfa.stages.evidence.nearest import TrainingImages


class Places(NamedTuple):
    """Where the user says that something is, where it has moved."""

    runs: Sequence[Path] = ()
    split: Path | None = None
    store: Path | None = None


class Network(NamedTuple):
    """What verdicts rest on, started."""

    attribution: Attribution
    predictor: Predictor
    images: TrainingImages | None  # None where they are not at hand


def start_networks(case: Case, places: Places, until: int | None = None) -> dict[str, Network]:
    """Start the networks that the verdicts of a case rest on, by digest of the attribution.

    Raises:
        UserError: A run is not where it was, or has other weights by now.
    """
    started: dict[Path, Predictor] = {}
    found = {}
    for digest, (attribution, recorded) in case.attributions(until).items():
        predictor = _find_run(attribution, [*places.runs, recorded], started)
        found[digest] = Network(attribution, predictor, _images_of(predictor, places))
    used = {each.predictor.source for each in found.values()}
    for place in places.runs:
        if place not in used:
            raise UserError(f"{place}: is no run of this case: no verdict of it has its weights")
    return found


def _find_run(
    attribution: Attribution, candidates: Sequence[Path], started: dict[Path, Predictor]
) -> Predictor:
    """The first of some runs that has the weights of an attribution."""
    problems = []
    for place in candidates:
        try:
            if place not in started:
                started[place] = Predictor.open(place)
        except UserError as error:
            problems.append(str(error))
            continue
        if started[place].provenance.weights_digest == attribution.provenance.weights_digest:
            return started[place]
        problems.append(f"{place}: has other weights than the run {attribution.run} of this case")
    raise UserError(f"{problems[0]}; name the run of the case with --run")


def _images_of(predictor: Predictor, places: Places) -> TrainingImages | None:
    try:
        return TrainingImages(predictor, places.split, places.store)
    except UserError:
        if places.split is not None or places.store is not None:
            raise
        return None
