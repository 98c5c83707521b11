"""The command line starts without the heavy libraries, and its help is whole."""

import subprocess
import sys

HEAVY = (
    "torch",
    "torchvision",
    "timm",
    "lightning_fabric",
    "sklearn",
    "scipy",
    "plotly",
    "pyarrow",
)


def test_nothing_heavy_is_imported_for_help():
    program = (
        f"import sys, owdfa.cli.main\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
