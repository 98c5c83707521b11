"""Where ``owdfa serve`` listens, and how much it takes."""

from typing import Literal

from pydantic import Field

from owdfa.config import Settings

MIB = 2**20
LOCAL = ("127.0.0.1", "localhost", "::1")
"""Addresses that only this machine reaches."""


class ServeSettings(Settings):
    """How a case is served."""

    host: str = "127.0.0.1"
    """Address to listen at."""
    port: int = Field(default=8765, ge=0, le=65535)
    """Port to listen at; 0 for any that is free."""
    token: str | None = Field(default=None, min_length=16, pattern=r"^[A-Za-z0-9._~-]+$")
    """What every request must bring; None: made anew where other machines can ask."""
    names: tuple[str, ...] = ()
    """Other names of this machine that a request may be addressed to, e.g. that of a proxy."""
    scheme: Literal["http", "https"] = "http"
    """https where a proxy in front speaks it."""
    workers: int = Field(default=0, ge=0)
    """Processes that decode and compute; 0 for one a core."""
    max_file: int = Field(default=512 * MIB, ge=1)
    """Bytes of a file."""
    max_request: int = Field(default=2048 * MIB, ge=1)
    """Bytes of a request."""
    max_files: int = Field(default=1000, ge=1)
    """Files of a request."""
    max_waiting: int = Field(default=10_000, ge=1)
    """Files that wait; more are refused until some are done."""
    max_connections: int = Field(default=256, ge=1)
    """Connections at a time; more are closed as they come."""
    task_seconds: float = Field(default=60.0, gt=0)
    """That a worker may take for an image."""
    video_seconds: float = Field(default=1800.0, gt=0)
    """That a worker may take for a video, of which it looks at 3,000 frames at most."""
    worker_memory: int = Field(default=4096 * MIB, ge=256 * MIB)
    """Bytes of memory that a worker may take for what it is sent, beside the network."""
    idle_seconds: float = Field(default=15.0, gt=0)
    """In which the head of a request must be there, and of its body 256 bytes a second; else its
    connection is closed."""

    @property
    def local(self) -> bool:
        """Whether only this machine can ask."""
        return self.host in LOCAL
