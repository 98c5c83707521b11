"""How long ``owdfa --help`` takes, against an interpreter that does nothing, in turn.

    python benchmarks/start.py [--rounds 15]

Prints one row of a table.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

OWDFA = str(Path(sys.executable).with_name("owdfa"))
COMMANDS = ([sys.executable, "-c", "pass"], [OWDFA, "--help"])


def seconds(command: list[str]) -> float:
    """Elapsed seconds of a command."""
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    times = [[seconds(command) for command in COMMANDS] for _ in range(rounds + 1)][1:]
    nothing, ours = (statistics.median(column) for column in zip(*times, strict=True))
    slowest = max(pair[1] for pair in times)
    print("| rounds | python -c pass, s | owdfa --help, s | slowest, s |")
    print("|---|---|---|---|")
    print(f"| {rounds} | {nothing:.3f} | {ours:.3f} | {slowest:.3f} |")


if __name__ == "__main__":
    main()
