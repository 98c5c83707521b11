"""Run all benchmarks, one after the other, and write RESULTS.md and the plot.

    python -m benchmarks [NAME ...] [--render]

With names, only those are measured again; the others keep what they have. ``--render`` measures
nothing.
"""

import argparse
import subprocess
import sys
import time

from benchmarks.render import render

NAMES = (
    "delivery",
    "first_pass",
    "scan",
    "ffe",
    "step",
    "epoch_end",
    "score",
    "predict",
    "start",
    "processes",
    "memory",
)
"""In order; ``growth`` (ten million rows) and ``gpu`` are commands of their own."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--render", action="store_true", help="write the page, measure nothing")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    for name in () if options.render else options.names or NAMES:
        start = time.perf_counter()
        print(f"\n== {name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
        print(f"== {name}: {time.perf_counter() - start:.0f} s", flush=True)
    print(f"written: {', '.join(str(path) for path in render())}")


if __name__ == "__main__":
    main()
