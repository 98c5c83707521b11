"""How fast ``scan`` reads and hashes image files, against ``sha256sum`` on the same files.

    python -m benchmarks.scan [--files 10000] [--rounds 3] [--folder DIR] [--quick]

Both read every file once, from the page cache, in turn. Images are JPEG and PNG of noise, 50 to
200 kB. ``--folder`` says where the files are, or are to be drawn; they stay there.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.harness import RESULTS, Comparison, Report, pairs
from owdfa.stages.scan import scan

_DIFFERENT = 40  # different images; the rest are copies of them


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "owdfa-scan")
    parser.add_argument("--quick", action="store_true", help="toy sizes, to see that it runs")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        if options.quick:
            options.files, options.rounds, options.folder = 40, 1, Path(scratch, "files")
        draw(options.folder, options.files)
        measure(options.folder, Path(scratch), options.rounds).write(results)


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


def measure(folder: Path, scratch: Path, rounds: int) -> Report:
    """Time both on all files of ``folder``."""
    paths = sorted(str(path) for path in folder.rglob("*.*"))
    megabytes = sum(Path(path).stat().st_size for path in paths) / 1e6
    times = pairs(
        lambda: subprocess.run(["sha256sum", *paths], stdout=subprocess.DEVNULL, check=True),
        lambda: scan(f"folder:{folder}", scratch / "images.parquet"),
        rounds,
    )
    report = Report("scan", __doc__)
    report.add(
        Comparison(
            what=f"scan {len(paths):,} files, {megabytes:,.0f} MB; plain: sha256sum, on one core",
            unit="s",
            baseline=times[0],
            ours=times[1],
            goal=0.5,
        )
    )
    return report


if __name__ == "__main__":
    main()
