"""What can be said of a group: where it lies, its exemplars, its nearest known type."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from owdfa.clustering import squared_distances
from owdfa.records.clusters import NearestType
from owdfa.records.verdict import FileVerdict, Verdict

_SHOWN = 6  # exemplars of each kind


class Place(NamedTuple):
    """Where a group lies."""

    centre: np.ndarray  # (D,)
    spread: float
    central: tuple[str, ...]
    borderline: tuple[str, ...]


def main_verdict(file: FileVerdict) -> Verdict:
    """The verdict of the most confident face, or of the whole image."""
    return max(file.verdicts, key=lambda each: each.box.score if each.box else 0.0)


def place_groups(
    groups: Mapping[str, Sequence[str]], rows: Mapping[str, int], embeddings: np.ndarray
) -> dict[str, Place]:
    """Where each group lies, by id.

    Args:
        groups: Images of each; those without an embedding do not count.
        rows: Row of the embedding of each image.
        embeddings: (N, D), of length 1.
    """
    there = {id_: [x for x in images if x in rows] for id_, images in groups.items()}
    indices = {id_: np.array([rows[x] for x in images], int) for id_, images in there.items()}
    dim = embeddings.shape[1]
    centres = np.zeros((len(groups), dim), np.float32)
    for number, index in enumerate(indices.values()):
        if len(index):
            centres[number] = embeddings[index].mean(axis=0)
    return {
        id_: _place(images, embeddings[indices[id_]], centres, number)
        for number, (id_, images) in enumerate(there.items())
    }


def _place(images: Sequence[str], rows: np.ndarray, centres: np.ndarray, number: int) -> Place:
    if not images:
        return Place(centres[number], 0.0, (), ())
    distances = np.sqrt(squared_distances(rows, centres))
    own = distances[:, number].copy()
    distances[:, number] = np.inf
    margin = distances.min(axis=1) - own if len(centres) > 1 else -own
    near, close = np.argsort(own, kind="stable"), np.argsort(margin, kind="stable")
    central = tuple(images[i] for i in near[:_SHOWN])
    outer = tuple(images[i] for i in close[:_SHOWN] if images[i] not in central)
    return Place(centres[number], float(np.median(own)), central, outer)


def confidence_of(verdicts: Sequence[Verdict]) -> float:
    """Mean probability of the likeliest type."""
    likeliest = [each.alternatives[0].probability for each in verdicts if each.alternatives]
    return float(np.mean(likeliest)) if likeliest else 0.0


def ratio_of(verdicts: Sequence[Verdict]) -> float | None:
    """Mean log10 likelihood ratio; None without."""
    ratios = [each.log10_ratio for each in verdicts if each.log10_ratio is not None]
    return float(np.mean(ratios)) if ratios else None


def nearest_type(verdicts: Sequence[Verdict]) -> NearestType | None:
    """The known type of the greatest mean probability."""
    sums: dict[str, float] = defaultdict(float)
    for verdict in verdicts:
        for each in verdict.alternatives:
            if not each.novel:
                sums[each.name] += each.probability
    if not sums:
        return None
    name = max(sorted(sums), key=lambda each: sums[each])
    return NearestType(name=name, probability=sums[name] / len(verdicts))
