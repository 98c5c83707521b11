"""What is done to pixels: resize, jitter, normalise; as Pillow does it, without waste.

Images here are NumPy arrays (H, W, 3) uint8, a layout in which each operation is one pass.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import final

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from owdfa.backbones.base import Colour, scale_and_shift

_ALIGNMENT = 64  # bytes
_WORTH_A_THREAD = 128  # side of an image in pixels
_PART = 8  # images
_WEIGHT = 2**15  # torch keeps a weight in 16 bits


def resize(images: np.ndarray, side: int) -> np.ndarray:
    """Resize (B, h, w, 3) uint8 to (B, side, side, 3), bilinear with antialiasing, as Pillow."""
    if images.shape[1:3] == (side, side) or not len(images):
        return images.reshape(-1, side, side, 3)
    planes = torch.from_numpy(np.require(images, requirements=["C", "W"])).permute(0, 3, 1, 2)
    size = (side, side)
    resized = interpolate(planes, size, mode="bilinear", align_corners=False, antialias=True)
    return resized.permute(0, 2, 3, 1).numpy()


def resize_taps(length: int, side: int) -> tuple[np.ndarray, np.ndarray, int]:
    """How torch, and so ``resize``, weighs uint8 elements to make ``side`` of ``length``.

    The triangle of a bilinear filter, as wide as an element of the result where that is wider than
    one of the source, normalised, then rounded to multiples of 2^-p; p is the greatest for which
    the largest weight fits into 16 bits.

    Returns:
        Where the weights of each element begin (side,); the weights (side, taps); and 2^p.
    """
    scale = length / side
    support = max(scale, 1.0)
    taps = 2 * int(np.ceil(support)) + 1
    centre = scale * (np.arange(side) + 0.5)
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    stop = np.minimum((centre + support + 0.5).astype(np.int64), length)
    place = first[:, None] + np.arange(taps)
    distance = np.abs((place - centre[:, None] + 0.5) * (1 / support))
    weights = np.where(place < stop[:, None], np.maximum(1 - distance, 0), 0)
    weights /= np.cumsum(weights, axis=1)[:, -1:]  # one after the other, as torch adds them
    precision = 1
    while precision < 2**22 and int(0.5 + weights.max() * precision * 2) < _WEIGHT:
        precision *= 2
    return first, np.floor(0.5 + weights * precision) / precision, precision


def jitter(
    image: np.ndarray, brightness: np.float32, contrast: np.float32, *, contrast_first: bool
) -> np.ndarray:
    """Change brightness and contrast of an image (H, W, 3) uint8 by these factors."""
    brighter = _blend(0, brightness)
    if contrast_first:  # two tables are one
        return _replaced(image, brighter[_contrast(image, contrast)])
    image = _replaced(image, brighter)
    return _replaced(image, _contrast(image, contrast))


@final
class Normalise:
    """Turns levels into (level / 255 - mean) / std, in place of what ``out`` held."""

    def __init__(self, mean: Colour, std: Colour) -> None:
        self._scale, self._shift = (each.numpy() for each in scale_and_shift(mean, std))

    def __call__(self, image: np.ndarray, out: np.ndarray) -> None:
        """Write ``image`` (H, W, 3) uint8 to ``out`` (3, H, W) float32."""
        out[:] = np.ascontiguousarray(image.transpose(2, 0, 1))  # bytes are the cheaper to move
        np.multiply(out, self._scale, out=out)
        np.add(out, self._shift, out=out)


def empty_aligned(count: int, side: int) -> np.ndarray:
    """An empty buffer for images, (count, 3, side, side) float32, aligned as torch would.

    From NumPy, which takes large pages where the system has them: touching fresh memory for the
    first time costs more than all arithmetic on it otherwise.
    """
    num_bytes = 12 * count * side**2
    buffer = np.empty(num_bytes + _ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % _ALIGNMENT
    return buffer[start : start + num_bytes].view(np.float32).reshape(count, 3, side, side)


def parallel_for(function: Callable[[range], None], count: int, side: int) -> None:
    """Call ``function`` with parts of range(count), in as many threads as torch would take.

    A part is small enough to stay in a processor's cache from one operation to the next. None of
    torch's operations in there starts threads of its own. Small images are one part, in this
    thread: the interpreter, of which there is one, would be in the way more than they gain.
    """
    if side < _WORTH_A_THREAD:
        function(range(count))
        return
    parts = [range(i, min(i + _PART, count)) for i in range(0, count, _PART)]
    with ThreadPoolExecutor(max(1, min(torch.get_num_threads(), len(parts)))) as pool:
        list(pool.map(function, parts))


def _contrast(image: np.ndarray, factor: np.float32) -> np.ndarray:
    """The table that changes the contrast of ``image``: away from its mean grey."""
    grey = np.asarray(Image.fromarray(image).convert("L"))
    return _blend(int(grey.sum(dtype=np.uint32) / grey.size + 0.5), factor)


def _blend(ground: int, factor: np.float32) -> np.ndarray:
    """What ``PIL.Image.blend`` of a flat image and another makes of each level: (256,) uint8."""
    level = np.arange(256, dtype=np.float32) - np.float32(ground)
    table: np.ndarray = np.clip(np.float32(ground) + factor * level, 0, 255).astype(np.uint8)
    return table


def _replaced(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Every level replaced by what the table says."""
    levels = image.tobytes().translate(table.tobytes())
    return np.frombuffer(levels, np.uint8).reshape(image.shape)
