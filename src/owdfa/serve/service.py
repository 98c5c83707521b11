"""The work behind pages and API: files become verdicts of the case, by workers.

What ``submit`` acknowledged is on the disk, and is done even if this process or a worker is killed.
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from owdfa.config import Settings
from owdfa.records.verdict import Attribution, FileVerdict
from owdfa.serve.place import Place
from owdfa.serve.settings import ServeSettings

Kind = Literal["attribute", "discover", "report", "promote", "rescan"]
Picture = Literal["thumb", "overview", "face"]


class Upload(NamedTuple):
    """A file that was received whole."""

    name: str  # as the sender named it, without folders and control characters
    path: Path  # where it is
    sha256: str
    num_bytes: int


class TaskState(Settings):
    """A file of a job."""

    name: str
    sha256: str
    state: Literal["waiting", "running", "done", "failed"]
    error: str | None = None
    """Why it failed."""


class JobState(Settings):
    """Something that takes a while."""

    id: str
    kind: Kind
    state: Literal["waiting", "running", "done", "failed"]
    created: str
    """UTC, ISO 8601."""
    who: str
    num_files: int
    num_done: int
    """Files done or failed."""
    note: str = ""
    """Of a command: its last line of output; of a failed job: why."""
    files: tuple[TaskState, ...] = ()


class Service:
    """The work behind a place.

    Args:
        place: The case, and the run that gives its verdicts.
        settings: Limits, and the number of workers.
    """

    def __init__(self, place: Place, settings: ServeSettings) -> None:
        self.place, self.settings = place, settings

    async def start(self) -> None:
        """Start workers, and go on with what was left; the app does it when it starts."""

    async def stop(self) -> None:
        """End the workers; what waits stays for the next start."""

    async def submit(self, files: Sequence[Upload], who: str) -> JobState:
        """Take files to attribute; when this returns, they are on the disk.

        Raises:
            UserError: Nothing here gives verdicts, or too many files wait.
        """
        raise NotImplementedError

    async def command(self, kind: Kind, arguments: Sequence[str], who: str) -> JobState:
        """Start a long command on the case, such as ``owdfa discover``; one at a time runs."""
        raise NotImplementedError

    def job(self, id_: str) -> JobState | None:
        """A job with its files; None where there is none of that id."""
        raise NotImplementedError

    def jobs(self, limit: int = 50) -> list[JobState]:
        """The last jobs, without their files, the newest first."""
        raise NotImplementedError

    def watch(self, id_: str) -> AsyncIterator[JobState]:
        """A job as it goes on, until it is done or failed."""
        raise NotImplementedError

    def verdict(self, sha256: str) -> FileVerdict | None:
        """The verdict of a file of the case, by its SHA-256."""
        item = self.place.items().get(sha256)
        return None if item is None else item.verdict

    async def attribution(self) -> Attribution | None:
        """What the run's verdicts rest on, as a worker says; None where there is no run."""
        raise NotImplementedError

    async def card(self) -> dict[str, object] | None:
        """The model card of the run (``stages.evidence.card.ModelCard``), as a worker says."""
        raise NotImplementedError

    async def picture(self, sha256: str, kind: Picture, number: int = 0) -> Path | None:
        """A JPEG of a file of the case, made once by a worker and kept in the case.

        Args:
            sha256: The file.
            kind: ``thumb`` (128 px a side), ``overview`` (960 px), or ``face``: what the network
                saw of verdict ``number`` (224 px).
            number: Of the verdict.

        Returns:
            Where it is; None where there is none: the file is gone, changed, or no image.
        """
        raise NotImplementedError
