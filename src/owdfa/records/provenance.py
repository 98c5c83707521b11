"""Provenance: what a result rests on. One record, nested in every file that holds a result."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from owdfa.config import Settings

Selection = Literal["last", "validation", "oracle"]
Labels = Literal["visible", "all"]
Precision = Literal["32-true", "bf16-mixed"]
Device = Literal["auto", "cpu", "cuda"]

_PARTS = ("torch", "torchvision", "timm", "numpy", "pillow")


class Provenance(Settings):
    """What a trained network, and all that it says, rests on."""

    method: str
    """Name of the method."""
    reconstruction: bool = False
    """Whether no public code or number of the method could be followed: no row of its paper."""
    backbone: str
    """The network under it, as <library>/<model>."""
    seed: int
    """Seed of the training run."""
    selection: Selection
    """Rule that chose the checkpoint; oracle: test labels did."""
    labels: Labels = "visible"
    """Labels that it was trained on; all: the hidden ones of unlabelled images too."""
    split_digest: str | None
    """Digest of the split that it was trained on; None for a network trained elsewhere."""
    weights_digest: str | None
    """SHA-256 of the file of weights; None in a run before its first checkpoint."""
    continues: str | None = None
    """SHA-256 of the weights of the run that it continues; None for one that began anew."""
    precision: Precision
    """What it was computed in: a run's own, or that of a prediction."""
    commit: str
    """Git commit of the code that trained it, or its version."""
    environment: dict[str, str]
    """Versions, device and time of the training."""

    @property
    def is_oracle(self) -> bool:
        """Whether labels that a user does not have trained it or chose its checkpoint."""
        return bool(self.oracle)

    @property
    def oracle(self) -> str:
        """What makes it an oracle, in words; empty where nothing does."""
        reasons = []
        if self.labels == "all":
            reasons.append("hidden labels were trained on")
        if self.selection == "oracle":
            reasons.append("test labels chose the checkpoint")
        return ", and ".join(reasons)

    @property
    def label(self) -> str:
        """The method's name as tables show it."""
        return mark(self.method, self.reconstruction)


def mark(name: str, reconstruction: bool) -> str:
    """The name in a table's row: a reconstruction says that it is one.

    Example:
        >>> mark("gdanet", True)
        'gdanet (reconstruction)'
    """
    return f"{name} (reconstruction)".strip() if reconstruction else name


def commit() -> str:
    """The git commit of this package's checkout, ``-dirty`` when altered; else its version."""
    package = Path(__file__).parent
    if _git(package, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return version("owdfa")  # installed; the folder may still lie in somebody else's checkout
    described = _git(package, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    return described or version("owdfa")


def environment(device: str, *, processes: int, threads: int) -> dict[str, str]:
    """Versions, threads, machine and time, for the record.

    Args:
        device: What the run computes on, with its name.
        processes: Number of processes that train.
        threads: Threads of each.
    """
    return {
        "python": platform.python_version(),
        **{part: version(part) for part in _PARTS},
        "device": device,
        "processes": str(processes),
        "threads": str(threads),
        "platform": platform.platform(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _git(folder: Path, *arguments: str) -> str | None:
    """Run git; None when there is no git, or it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
