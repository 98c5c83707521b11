"""What an evidence report says; the page holds it as JSON as well."""

from typing import Literal, NamedTuple

from pydantic import Field

from owdfa.config import Settings
from owdfa.records.verdict import Attribution, FileVerdict
from owdfa.stages.evidence.card import ModelCard
from owdfa.stages.evidence.credentials import Credentials
from owdfa.stages.evidence.nearest import Neighbour

State = Literal["same", "missing", "changed", "unread"]


class FaceEvidence(Settings):
    """What is shown of a face, or of a whole image, beside its verdict."""

    picture: str | None
    """The crop that the network saw; None where there is none. Of a picture, its name is kept:
    the SHA-256 of its data URI."""
    nearest: tuple[Neighbour, ...] = ()
    nearest_pictures: tuple[str, ...] = ()
    note: str | None = None
    """Why no nearest examples are shown; None where they are, or where no class is named."""


class InputEvidence(Settings):
    """An input, what its file says of itself, and its verdicts."""

    file: FileVerdict
    line: int
    """Of the journal, that added it."""
    earlier: tuple[int, ...]
    """Lines that added verdicts of it before, which no longer hold."""
    state: State
    """Of the file when the report was made; unread: it could not be read when it was attributed."""
    overview: str | None = None
    """Picture of the whole image with its faces; None where there is none."""
    metadata: tuple[tuple[str, str], ...] = ()
    credentials: Credentials | None = None
    faces: tuple[FaceEvidence, ...] = ()
    """One a verdict; empty where details are not shown."""


class Line(Settings):
    """A line of the journal."""

    seq: int
    time: str
    who: str
    what: str
    about: str
    hash: str


class Evidence(Settings):
    """All that an evidence report says."""

    schema_: Literal["owdfa/evidence/1"] = Field(default="owdfa/evidence/1", alias="schema")
    case: str
    """Id of the case."""
    head: str
    """Hash of the journal's last line when the report was made."""
    inputs: tuple[InputEvidence, ...]
    attributions: dict[str, Attribution]
    """By digest."""
    cards: dict[str, ModelCard]
    """By digest of the attribution."""
    journal: tuple[Line, ...]
    """The last lines."""
    num_lines: int
    notes: tuple[str, ...]
    """What a reader should know of the journal."""
    versions: dict[str, str | None]


class Gathered(NamedTuple):
    """The content of a report."""

    evidence: Evidence
    pictures: dict[str, str]  # data URI by name
