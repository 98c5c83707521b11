"""Where a result came from: the code's commit, the machine and the libraries."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

_PARTS = ("torch", "torchvision", "timm", "numpy", "pillow")


def commit() -> str:
    """The git commit of this package's checkout, ``-dirty`` when altered; else its version."""
    package = Path(__file__).parent
    if _git(package, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return version("owdfa")  # installed; the folder may still lie in somebody else's checkout
    described = _git(package, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    return described or version("owdfa")


def environment(device: str) -> dict[str, str]:
    """Versions, threads, machine and time, for the record.

    Args:
        device: What the run computes on, e.g. ``"cpu"``.
    """
    import torch

    from owdfa.distributed import get_shard

    name = torch.cuda.get_device_name() if device.startswith("cuda") else platform.processor()
    return {
        "python": platform.python_version(),
        **{part: version(part) for part in _PARTS},
        "device": f"{device} {name}".strip(),
        "processes": str(get_shard().num),
        "threads": str(torch.get_num_threads()),
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
