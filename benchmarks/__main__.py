"""Run benchmarks one after the other, and write RESULTS.md.

    python -m benchmarks [NAME ...] [--render]

With names, only those are measured; the others keep what they have. ``--render`` measures nothing.
``python -m benchmarks.gpu``, ``.cluster``, ``.continual``, ``.faces`` and ``.serve`` are commands
of their own.
"""

import argparse
import subprocess
import sys

from benchmarks.harness import render

NAMES = ("delivery", "step", "predict", "memory", "video")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--render", action="store_true", help="write the page, measure nothing")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    for name in () if options.render else options.names or NAMES:
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
    print(f"written: {render()}")


if __name__ == "__main__":
    main()
