"""Which share of faces each detector finds, by their size and turn; a table in Markdown.

    python -m benchmarks.faces [FOLDER] [--most 100]

FOLDER holds images; without it, drawn ones serve. Of each image in which every detector finds a
face of at least 60 pixels, the surest by dlib is cut out with half its width about it, made so
large that dlib's box has the size that is asked for, turned in the plane about its middle, and laid
on smooth noise of 320 px. It is found where a box covers its middle and is neither half nor twice
as large.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.delivery import photographs
from owdfa.datasets.folder import files_below
from owdfa.images.boxes import Box
from owdfa.images.decode import BadImageError, decode_image
from owdfa.images.faces import detector

DETECTORS = ("dlib", "centerface")
SIZES = (20, 32, 48, 64, 80, 112)
TURNS = (0, 15, 30, 45, 90)
_SIDE, _LEAST = 320, 60


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--most", type=int, default=100, help="faces that are used")
    parser.add_argument("--quick", action="store_true", help="toy sizes, to see that it runs")
    options = parser.parse_args(argv)
    sizes, turns = ((112,), (0,)) if options.quick else (SIZES, TURNS)
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or photographs(Path(name, "files"), 256, 4)[0].parent
        faces = [face for _, face in zip(range(options.most), faces_in(folder), strict=False)]
    print(f"{len(faces)} faces\n\n| face | {' | '.join(f'{turn}°' for turn in turns)} |")
    print("|---|" + "---|" * len(turns))
    spent = dict.fromkeys(DETECTORS, 0.0)
    for size in sizes:
        cells = []
        for turn in turns:
            scenes = [place(face, box, size, turn) for face, box in faces]
            shares = []
            for name in DETECTORS:
                start = time.thread_time()
                found = [is_found(detector(name).detect(scene), size) for scene in scenes]
                spent[name] += time.thread_time() - start
                shares.append(f"{100 * np.mean(found):.0f}")
            cells.append(" / ".join(shares))
        print(f"| {size} px | {' | '.join(cells)} |", flush=True)
    num = max(len(faces) * len(sizes) * len(turns), 1)
    each = ", ".join(f"{name} {1000 * spent[name] / num:.0f} ms" for name in DETECTORS)
    print(f"\nTime of a processor, {_SIDE} px: {each}")


def faces_in(folder: Path) -> Iterator[tuple[Image.Image, Box]]:
    """Images and the face in each that dlib is surest of, where all detectors find one."""
    for path, passed_over in files_below(folder):
        if passed_over is None:
            try:
                image = decode_image(path)
            except BadImageError:
                continue
            found = [detector(name).detect(np.asarray(image)) for name in DETECTORS]
            if all(found) and found[0][0].right - found[0][0].left >= _LEAST:
                yield image, found[0][0]


def place(image: Image.Image, face: Box, size: int, turn: float) -> np.ndarray:
    """A scene (320, 320, 3) uint8 with the face in its middle."""
    noise = np.random.default_rng(0).integers(60, 200, (5, 5, 3), dtype=np.uint8)
    scene = Image.fromarray(noise).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    x, y = (face.left + face.right) / 2, (face.top + face.bottom) / 2
    half = face.right - face.left
    cut = image.crop((round(x - half), round(y - half), round(x + half), round(y + half)))
    inside = Image.new("L", image.size, 255).crop(
        (round(x - half), round(y - half), round(x + half), round(y + half))
    )
    side, corner = 2 * size, _SIDE // 2 - size
    for layer in (cut, inside):
        layer.thumbnail((side, side), Image.Resampling.LANCZOS)
    cut, inside = (
        layer.resize((side, side)).rotate(turn, Image.Resampling.BICUBIC, expand=False)
        for layer in (cut, inside)
    )
    scene.paste(cut, (corner, corner), inside)
    return np.asarray(scene)


def is_found(boxes: Sequence[Box], size: int) -> bool:
    """Whether one of the boxes is of the face in the middle."""
    middle = _SIDE / 2
    return any(
        box.left < middle < box.right
        and box.top < middle < box.bottom
        and 0.5 < (box.bottom - box.top) / size < 2
        for box in boxes
    )


if __name__ == "__main__":
    main()
