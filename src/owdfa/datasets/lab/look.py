"""Look at the traces: example images, and the mean spectrum of what a smoothing filter leaves.

From a shell: ``python -m owdfa.datasets.lab.look DIR sheet.png``.
"""

import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from owdfa.datasets.lab.drawing import read
from owdfa.datasets.lab.filters import Pixels, blur
from owdfa.files import atomic


def residual(pixels: Pixels) -> Pixels:
    """What a slight blur takes away: (3, H, W) float32, in grey levels of 255."""
    return pixels - blur(pixels, 0.8)


def mean_spectrum(images: Iterable[Pixels]) -> np.ndarray:
    """Mean over images and colours of the log amplitude spectrum of the residual.

    Args:
        images: (3, H, W) float32 each, in grey levels of 255, all of one size.

    Returns:
        (H, W) float64, frequency 0 in the middle.
    """
    spectra = [_spectrum(residual(pixels)) for pixels in images]
    mean: np.ndarray = np.mean(spectra, axis=0)
    return np.fft.fftshift(mean)


def open_pixels(path: Path) -> Pixels:
    """Read an image of the benchmark: (3, H, W) float32, in grey levels of 255."""
    with Image.open(path) as image:
        levels = np.asarray(image, np.float32)
    return np.ascontiguousarray(levels.transpose(2, 0, 1))


def contact_sheet(
    folder: Path, output: Path, *, num_examples: int = 8, num_images: int = 100
) -> None:
    """Draw one row a class: examples, their residuals, and how the mean spectrum differs from real.

    Args:
        folder: A drawn benchmark.
        output: The PNG file to write.
        num_examples: Images shown a class.
        num_images: Images averaged a class.
    """
    paths: defaultdict[str, list[Path]] = defaultdict(list)
    for entry in read(str(folder)):
        paths[str(entry.class_)].append(entry.path)
    spectra = {
        class_: mean_spectrum(open_pixels(path) for path in _spread(some, num_images))
        for class_, some in paths.items()
    }
    real = next(iter(spectra.values()))
    rows = []
    for class_, some in paths.items():
        examples = [open_pixels(path) for path in _spread(some, num_examples)]
        residuals = [128.0 + 8.0 * residual(pixels) for pixels in examples[:2]]
        shown = 128.0 + 120.0 * (spectra[class_] - real)
        both = (30.0 + 60.0 * spectra[class_], shown)
        rows.append(np.concatenate([*examples, *residuals, *map(_grey, both)], axis=2))
    sheet = np.clip(np.concatenate(rows, axis=1), 0, 255).astype(np.uint8)
    with atomic(output) as temporary:
        Image.fromarray(np.ascontiguousarray(sheet.transpose(1, 2, 0))).save(temporary, "PNG")


def _spectrum(pixels: Pixels) -> np.ndarray:
    """Log amplitude of the Fourier transform under a Hann window, mean over colours: (H, W)."""
    height, width = pixels.shape[1:]
    window = np.outer(np.hanning(height), np.hanning(width))
    amplitude = np.abs(np.fft.fft2(pixels * window)) / np.sqrt((window**2).sum())
    mean: np.ndarray = np.log(amplitude + 1e-2).mean(axis=0)
    return mean


def _grey(plane: np.ndarray) -> np.ndarray:
    """The same plane for each colour: (3, H, W)."""
    return np.broadcast_to(plane, (3, *plane.shape))


def _spread(paths: Sequence[Path], count: int) -> list[Path]:
    """At most ``count`` paths, from the whole length of the list."""
    return list(islice(paths, 0, None, max(1, len(paths) // count)))[:count]


if __name__ == "__main__":
    contact_sheet(Path(sys.argv[1]), Path(sys.argv[2]))
