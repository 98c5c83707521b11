"""What the HTTP API takes and answers, beside the records of a case."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from owdfa.case.actions import Merge, Move, Name, Reject, Remark
from owdfa.config import Settings
from owdfa.records.clusters import Cluster, Note, Signature
from owdfa.records.verdict import Attribution, FileVerdict
from owdfa.serve.jobs import JobState
from owdfa.stages.evidence.card import ModelCard


class Problem(BaseModel):
    """What is wrong."""

    detail: str = Field(examples=["case: no run is served that gives verdicts; ..."])


class Since(BaseModel):
    """A line of the journal that another reviewer added."""

    seq: int
    time: str
    who: str
    sentence: str = Field(examples=['named novel-7f3a "FaceForge 2"'])


class Conflict(Problem):
    """What others have done since; nothing was done."""

    head: str
    """What to send as ``head`` once you have looked at it."""
    since: list[Since]


class Attributed(BaseModel):
    """Files that were sent, and what is said of them."""

    job: JobState
    verdicts: list[FileVerdict]
    """Of the files that are done, in the order in which they were sent."""


class VerdictPage(BaseModel):
    """Some of the verdicts of a case, the last one first."""

    total: int
    offset: int
    verdicts: list[FileVerdict]


class GroupAnswer(BaseModel):
    """A group of images that no known type was named for."""

    id: str = Field(examples=["novel-7f3a"])
    name: str | None
    named: Signature | None
    """By whom and when."""
    rejected: Signature | None
    notes: tuple[Note, ...]
    members: list[str]
    """SHA-256 of its images."""
    measured: Cluster | None
    """What ``discover`` measured of it; None where it was split off since."""


class Groups(BaseModel):
    """The groups of a case."""

    head: str
    """Hash of the journal's last line: send it with a decision."""
    groups: list[GroupAnswer]


class Decided(BaseModel):
    """What was done."""

    sentence: str = Field(examples=['named novel-7f3a "FaceForge 2"'])
    head: str
    groups: list[GroupAnswer]


class SplitOff(Settings):
    """Make a group of some images of another."""

    action: Literal["split"] = "split"
    group: str
    images: tuple[str, ...] = ()
    """None for the smaller of the two halves that its embeddings fall into."""


class GatherImages(Settings):
    """Make a group of images, from wherever they are."""

    action: Literal["gather"] = "gather"
    images: Annotated[tuple[str, ...], Field(min_length=1)]


class TakeBack(Settings):
    """Take back the last decision, or do it again."""

    action: Literal["undo", "redo"]


Decision = Name | Merge | SplitOff | Move | GatherImages | Reject | Remark | TakeBack


class Asked(Settings):
    """A decision on groups, and what the reviewer saw."""

    head: str = Field(min_length=6)
    """``head`` of the groups that were looked at."""
    decision: Annotated[Decision, Field(discriminator="action")]


class Grouping(Settings):
    """How images are grouped; see ``owdfa discover``."""

    by: Literal["density", "types"] = "density"
    min_size: int = Field(default=5, ge=3)
    seed: int = Field(default=0, ge=0)


class Types(BaseModel):
    """What verdicts rest on, and the known types."""

    attribution: Attribution
    card: ModelCard
