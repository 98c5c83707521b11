"""Clusters: groups of images that no known type was named for, as ``discover`` leaves them.

A case holds one JSON file for each time that ``discover`` was run; its journal has the SHA-256 of
each. The last one is what review goes on from: it holds what reviewers had decided by then, too.
"""

from typing import Literal

from pydantic import Field

from owdfa.config import Settings
from owdfa.records.provenance import Provenance

By = Literal["density", "types"]
"""How images are grouped: regions in which embeddings lie dense, or novel types of the run."""

Change = Literal["new", "same", "grew", "shrank", "changed", "split", "merged", "kept"]
"""What became of a group since the last time: ``changed`` has gained and lost images, ``split`` was
part of another, ``merged`` took in another, ``kept`` is none that was found, but reviewers'."""


class Signature(Settings):
    """Who decided something, and the journal's line of it."""

    who: str
    time: str
    line: str
    """Hash of the line."""


class Note(Settings):
    """What a reviewer remarked."""

    text: str
    by: Signature


class Trait(Settings):
    """What files of a group have in common."""

    what: str
    """``format``, ``size``, ``JPEG quality``, ``EXIF software``, ..."""
    value: str
    share: float
    """Of the group's files that were read."""
    elsewhere: float | None
    """Of the other groups' files; None where there is no other group."""

    @property
    def is_own(self) -> bool:
        """Whether it sets the group apart."""
        return self.elsewhere is not None and self.elsewhere < self.share / 2


class NearestType(Settings):
    """The known type that the images of a group resemble most."""

    name: str
    probability: float
    """Its mean probability, as the verdicts have it."""


class Lineage(Settings):
    """What became of a group since the last time."""

    change: Change
    num_before: int = 0
    """Images that it had."""
    sources: tuple[str, ...] = ()
    """Ids of the groups that it was part of, or took in."""

    @property
    def words(self) -> str:
        """What became of it, in words."""
        sources = ", ".join(self.sources)
        words = {
            "new": "new",
            "same": "the same",
            "split": f"was part of {sources}",
            "merged": f"took in {sources}",
            "kept": "kept by review",
        }
        return words.get(self.change, f"{self.change}, had {self.num_before}")


class Cluster(Settings):
    """A group of images, by SHA-256 of their files, with what reviewers had decided of it."""

    id: str
    """E.g. ``novel-7f3a``; no other group of the case ever has it."""
    members: tuple[str, ...]
    held: tuple[str, ...] = ()
    """Members that stay in it whatever is found: a reviewer decided on them."""
    name: str | None = None
    named: Signature | None = None
    rejected: Signature | None = None
    """Who said that it is no type."""
    notes: tuple[Note, ...] = ()
    lineage: Lineage
    stability: float | None
    """Mean Jaccard index with the group that is found again in a part of the images (Hennig, 2007);
    above 0.75 it is stable, below 0.5 it is dissolved. None where it is too small."""
    confidence: float
    """Mean probability of the likeliest type of each image, known or novel."""
    log10_ratio: float | None
    """Mean log10 likelihood ratio of the best known type against the best other explanation: below
    0 speaks against all known types. None where the run's method gives none."""
    nearest: NearestType | None
    """None where no known type is likely for any image."""
    central: tuple[str, ...]
    """Members nearest to the centre."""
    borderline: tuple[str, ...]
    """Members that are nearly as close to another group, or farthest out."""
    traits: tuple[Trait, ...]
    centre: tuple[float, ...]
    """Mean of the embeddings, each scaled to length 1."""
    spread: float
    """Median distance of members to the centre."""


class Clusters(Settings):
    """All groups of a case, as one run of ``discover`` leaves them."""

    schema_: Literal["owdfa/clusters/1"] = Field(default="owdfa/clusters/1", alias="schema")
    case: str
    """Id of the case."""
    previous: str
    """Hash of the journal's line that it goes on from."""
    by: By
    min_size: int
    num_parts: int
    seed: int
    run: str
    provenance: Provenance
    """Of the network that embedded the images."""
    embedding: str
    """Digest of all that decides the embeddings: their folder in the case."""
    num_images: int
    """Images that were to be grouped."""
    num_alone: int
    """Of these, in no group."""
    num_missing: int
    """Images that were to be grouped, but are no longer there."""
    num_videos: int
    """Videos without a known type: they are not grouped."""
    clusters: tuple[Cluster, ...]
    """The largest first."""
    gone: dict[str, tuple[str, ...]]
    """Ids that are no longer in use, and of the groups that most of their images went to."""
