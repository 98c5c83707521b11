"""The types of a run: how large and how sure each is, what it resembles, and examples."""

from collections import Counter
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from owdfa.images.store import Store
from owdfa.pages import thumbnail
from owdfa.stages.report.content import Evidence
from owdfa.stages.report.ratios import ratio

NUM_EXAMPLES = {True: 8, False: 5}  # of a novel type, of a known one
_NUM_UNSURE = {True: 2, False: 0}  # how many of these are the least confident
_SIZE = {True: 96, False: 64}  # longest side of an example in pixels
MAX_TYPES = 60  # with examples, of each kind: an unpruned run may have hundreds of types


class Example(NamedTuple):
    """An image of a type."""

    id: str
    confidence: float
    unsure: bool  # one of the least confident of its type
    picture: str  # data URI


class TypeEntry(NamedTuple):
    """What the page says of a type."""

    name: str
    novel: bool
    num_images: int
    confidence: float  # mean
    nearest: str | None  # known type of the most similar mean embedding, never itself
    similarity: float | None  # cosine
    truth: str | None  # commonest true class; None when the truth is not known
    purity: float | None  # that class's share of the images
    ratio: str | None  # likelihood ratio of the middle one of its images; None without
    examples: list[Example]


def describe_types(evidence: Evidence, store: Store) -> list[TypeEntry]:
    """Describe every type that occurs, novel ones first, larger ones first."""
    found, sizes = np.unique(evidence.index, return_counts=True)
    known = found < evidence.num_known
    order = np.lexsort((found, -sizes, known))
    nearest = _nearest_known(evidence, found)
    entries: list[TypeEntry] = []
    num_described = Counter[bool]()
    for place in order:
        novel = not known[place]
        num_described[novel] += 1
        with_examples = num_described[novel] <= MAX_TYPES
        entries.append(_describe(evidence, store if with_examples else None, found[place], nearest))
    return entries


def _describe(
    evidence: Evidence, store: Store | None, index: int, nearest: dict[int, tuple[str, float]]
) -> TypeEntry:
    rows = np.flatnonzero(evidence.index == index)
    novel = bool(index >= evidence.num_known)
    truth, purity = None, None
    if evidence.judged:
        truth, count = Counter(evidence.truth[row] for row in rows).most_common(1)[0]
        purity = count / len(rows)
    name, similarity = nearest.get(int(index), (None, None))
    ratios = evidence.log_ratio()
    return TypeEntry(
        name=evidence.names[index],
        novel=novel,
        num_images=len(rows),
        confidence=float(evidence.confidence[rows].mean()),
        nearest=name,
        similarity=similarity,
        truth=truth,
        purity=purity,
        ratio=None if ratios is None else ratio(float(np.median(ratios[rows]))),
        examples=_examples(evidence, store, rows, novel) if store else [],
    )


def choose_examples(
    confidence: Float[np.ndarray, "images"], num_examples: int, num_unsure: int
) -> Int[np.ndarray, "chosen"]:
    """Places of the most and the least confident images, in decreasing order of confidence."""
    order = np.argsort(-confidence, kind="stable")
    if len(order) <= num_examples:
        return order
    return np.concatenate([order[: num_examples - num_unsure], order[len(order) - num_unsure :]])


def _examples(evidence: Evidence, store: Store, rows: np.ndarray, novel: bool) -> list[Example]:
    num_examples, num_unsure = NUM_EXAMPLES[novel], _NUM_UNSURE[novel]
    chosen = rows[choose_examples(evidence.confidence[rows], num_examples, num_unsure)]
    ids = [evidence.ids[row] for row in chosen]
    first_unsure = num_examples - num_unsure if len(rows) > num_examples else len(rows)
    return [
        Example(identity, float(evidence.confidence[row]), place >= first_unsure, picture)
        for place, (identity, row, picture) in enumerate(
            zip(ids, chosen, _pictures(store, ids, _SIZE[novel]), strict=True)
        )
    ]


def _pictures(store: Store, ids: list[str], size: int) -> list[str]:
    return [thumbnail(store.pixels[row], size) for row in store.rows(ids)]


def _nearest_known(evidence: Evidence, found: np.ndarray) -> dict[int, tuple[str, float]]:
    """For each type that occurs: the known type, not itself, whose mean embedding is nearest."""
    directions = evidence.directions
    if directions is None:
        return {}
    means = np.stack([directions[evidence.index == index].mean(axis=0) for index in found])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    known = found[found < evidence.num_known]
    cosine = means @ means[: len(known)].T
    nearest: dict[int, tuple[str, float]] = {}
    for row, index in enumerate(found):
        others = np.flatnonzero(known != index)
        if len(others):
            best = others[cosine[row, others].argmax()]
            nearest[int(index)] = (evidence.names[known[best]], float(cosine[row, best]))
    return nearest
