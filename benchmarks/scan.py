"""How fast ``scan`` reads and hashes image files, against ``sha256sum`` on the same files.

    python benchmarks/scan.py [--files 10000] [--rounds 5] [--folder /tmp/owdfa-scan]

Both read every file once, from the page cache, in turn, so that a busy machine slows both. Images
are JPEG and PNG of noise, 50 to 200 kB. Prints one row of a table.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from owdfa.stages.scan import scan

_DIFFERENT = 40  # different images; the rest are copies of them


def draw(folder: Path, files: int) -> None:
    """Write the images, unless they are there."""
    generator = np.random.default_rng(0)
    contents = []
    while len(contents) < _DIFFERENT:
        side = int(generator.integers(240, 600))
        noise = generator.integers(0, 255, (side // 2, side // 2, 3), dtype=np.uint8)
        png = len(contents) % 4 == 0
        image = Image.fromarray(noise).resize((side, side))
        stream = BytesIO()
        image.resize((side // 3, side // 3) if png else (side, side)).save(
            stream, "PNG" if png else "JPEG", quality=90
        )
        if 50_000 <= stream.tell() <= 200_000:
            contents.append((stream.getvalue(), "png" if png else "jpg"))
    for number in range(files):
        content, suffix = contents[number % _DIFFERENT]
        path = folder / f"class-{number % 10}" / f"{number:06}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(content)


def measure(folder: Path, rounds: int) -> list[tuple[float, float]]:
    """Seconds of sha256sum and of scan, pair by pair."""
    paths = sorted(str(path) for path in folder.rglob("*.*"))
    pairs = []
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(rounds + 1):
            start = time.perf_counter()
            subprocess.run(["sha256sum", *paths], stdout=subprocess.DEVNULL, check=True)
            middle = time.perf_counter()
            scan(f"folder:{folder}", Path(scratch) / "images.parquet")
            pairs.append((middle - start, time.perf_counter() - middle))
    return pairs[1:]  # the first round filled the page cache


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "owdfa-scan")
    options = parser.parse_args()
    draw(options.folder, options.files)
    pairs = measure(options.folder, options.rounds)
    total = sum(path.stat().st_size for path in options.folder.rglob("*.*")) / 1e6
    theirs, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = sorted(theirs / ours for theirs, ours in pairs)
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    print("| files | MB | sha256sum, s | scan, s | speed of scan / sha256sum | range |")
    print("|---|---|---|---|---|---|")
    ratio = statistics.median(ratios)
    print(f"| {options.files} | {total:.0f} | {theirs:.2f} | {ours:.2f} | {ratio:.2f} | {spread} |")


if __name__ == "__main__":
    main()
