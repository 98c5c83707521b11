"""From groups of embeddings to the groups of a case: which is which, and what is said of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import Field

from owdfa.case import Case
from owdfa.case.actions import Group, State
from owdfa.case.review import Review, statistics
from owdfa.config import Settings
from owdfa.discovery.density import ALONE, stability
from owdfa.discovery.matching import Matched, Region, match_groups
from owdfa.inference.embeddings import embedding_digest
from owdfa.inference.predictor import Predictor
from owdfa.records.clusters import By, Cluster, Clusters
from owdfa.records.verdict import FileVerdict
from owdfa.stages.discover.describing import (
    confidence_of,
    main_verdict,
    nearest_type,
    place_groups,
    ratio_of,
)
from owdfa.stages.discover.traits import traits_of

UNNAMED = ("novel", "family", "inconclusive")
"""Kinds of outcomes that name no known type."""
NAMED = ("known", "real-consistent")
_MAX_OTHERS = 1000


class DiscoverOptions(Settings):
    """How images are grouped."""

    by: By = "density"
    """``density``: where embeddings lie dense; ``types``: by the novel types that the run found."""
    min_size: int = Field(default=5, ge=3)
    """The least images of a group."""
    num_parts: int = Field(default=10, ge=0)
    """Parts of the images in which groups are looked for again, for their stability."""
    seed: int = Field(default=0, ge=0)
    jobs: int = Field(default=0, ge=0)
    """Threads that work at the same time; 0 for one a core."""


class Pile(NamedTuple):
    """The images of a case."""

    files: dict[str, FileVerdict]  # by SHA-256
    places: dict[str, Path]
    wanted: list[str]  # those that are to be grouped
    others: list[str]  # some of those that need not be, which show how close images of a type are
    num_videos: int = 0  # without a known type

    @classmethod
    def of(cls, case: Case) -> "Pile":
        """The images of a case; one that lies in several places counts once."""
        files, places, videos = {}, {}, 0
        for item in case.items():
            if item.verdict.video is not None:
                videos += main_verdict(item.verdict).outcome.kind in UNNAMED
            elif item.verdict.sha256 is not None:
                files[item.verdict.sha256] = item.verdict
                places[item.verdict.sha256] = case.find_input(item)
        kinds = {sha256: main_verdict(file).outcome.kind for sha256, file in files.items()}
        wanted = sorted(sha256 for sha256, kind in kinds.items() if kind in UNNAMED)
        others = sorted(sha256 for sha256, kind in kinds.items() if kind in NAMED)
        return cls(files, places, wanted, others[:_MAX_OTHERS], videos)


@dataclass(frozen=True)
class Grouped:
    """What was found of the images that have an embedding."""

    images: list[str]
    embeddings: np.ndarray  # (N, D), of length 1
    groups: np.ndarray  # (N,) from 0, or ALONE
    rows: np.ndarray  # (N, d), what groups were looked for in

    @cached_property
    def indices(self) -> dict[str, int]:
        """Row of each image."""
        return {image: row for row, image in enumerate(self.images)}

    def members(self) -> list[frozenset[str]]:
        """The images of each group."""
        made: list[list[str]] = [[] for _ in range(int(self.groups.max(initial=ALONE)) + 1)]
        for image, group in zip(self.images, self.groups.tolist(), strict=True):
            if group != ALONE:
                made[group].append(image)
        return [frozenset(each) for each in made]


class About(NamedTuple):
    """What groups rest on."""

    case: Case
    predictor: Predictor
    pile: Pile
    options: DiscoverOptions
    num_missing: int


def make_clusters(review: Review, found: Grouped, about: About) -> Clusters:
    """The groups with the ids, names and images that reviewers gave them."""
    state, digest = review.state, embedding_digest(about.predictor)
    before = {id_: group.members for id_, group in state.groups.items()}
    held = {id_: group.held for id_, group in state.groups.items()}
    regions = _regions(review, found, digest)
    matched = match_groups(found.members(), before, held, state.gone, regions)
    made = _describe(state, matched, found, about)
    grouped = {image for images in matched.members.values() for image in images}
    return Clusters(
        case=about.case.id,
        previous=about.case.head,
        **about.options.model_dump(include={"by", "min_size", "num_parts", "seed"}),
        run=str(about.predictor.source),
        provenance=about.predictor.provenance,
        embedding=digest,
        num_images=len(about.pile.wanted),
        num_alone=len(set(about.pile.wanted) - grouped),
        num_missing=about.num_missing,
        num_videos=about.pile.num_videos,
        clusters=tuple(sorted(made, key=lambda each: (-len(each.members), each.id))),
        gone={**state.gone, **matched.gone},
    )


def _regions(
    review: Review, found: Grouped, digest: str
) -> tuple[list[Region], Mapping[str, Region]] | None:
    """Where groups lie; None where they were embedded otherwise before."""
    if review.clusters is None or review.clusters.embedding != digest:
        return None
    groups = {str(n): sorted(images) for n, images in enumerate(found.members())}
    places = place_groups(groups, found.indices, found.embeddings).values()
    before = {
        id_: Region(np.array(each.centre, np.float32), each.spread)
        for id_, each in statistics(review).items()
        if id_ in review.state.groups
    }
    return [Region(each.centre, each.spread) for each in places], before


def _describe(state: State, matched: Matched, found: Grouped, about: About) -> list[Cluster]:
    """Every group with all that can be said of it."""
    options, pile, rows = about.options, about.pile, found.indices
    groups = {id_: sorted(images) for id_, images in matched.members.items()}
    places = place_groups(groups, rows, found.embeddings)
    final = np.full(len(rows), ALONE)
    for number, images in enumerate(groups.values()):
        final[[rows[x] for x in images if x in rows]] = number
    stable = stability(found.rows, final, options.min_size, options.num_parts, options.seed)
    known = {id_: [x for x in images if x in pile.files] for id_, images in groups.items()}
    traits = traits_of(known, pile.files, pile.places, options.jobs)
    made = []
    for number, (id_, images) in enumerate(groups.items()):
        was, place = state.groups.get(id_) or Group(id_, frozenset()), places[id_]
        verdicts = [main_verdict(pile.files[x]) for x in known[id_]]
        made.append(
            Cluster(
                id=id_,
                members=tuple(images),
                held=tuple(sorted(was.held)),
                name=was.name,
                named=was.named,
                rejected=was.rejected,
                notes=was.notes,
                lineage=matched.lineage[id_],
                stability=stable[number] if number < len(stable) else None,
                confidence=confidence_of(verdicts),
                log10_ratio=ratio_of(verdicts),
                nearest=nearest_type(verdicts),
                central=place.central,
                borderline=place.borderline,
                traits=traits[id_],
                centre=tuple(place.centre.tolist()),
                spread=place.spread,
            )
        )
    return made
