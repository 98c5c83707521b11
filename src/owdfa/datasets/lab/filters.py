"""Linear filters and resampling of images (3, H, W) float32: the steps that leave traces."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Pixels = NDArray[np.floating]  # (3, H, W) float32
Cubic = tuple[float, float]  # B and C of the kernel: (1, 0) is the B-spline, (0, 0.5) Catmull-Rom

_TAPS = (-1, 0, 1, 2)


def blur(pixels: Pixels, sigma: float) -> Pixels:
    """Gaussian blur along height and width; ``sigma`` in pixels, 0 for none."""
    if sigma <= 0.0:
        return pixels
    once = ndimage.gaussian_filter1d(pixels, sigma, axis=1, mode="nearest", truncate=3.0)
    return np.asarray(
        ndimage.gaussian_filter1d(once, sigma, axis=2, mode="nearest", truncate=3.0), np.float32
    )


def sharpen(pixels: Pixels, amount: float, sigma: float) -> Pixels:
    """Unsharp masking: add ``amount`` times what a blur takes away."""
    return pixels + np.float32(amount) * (pixels - blur(pixels, sigma))


def resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """Resize with Pillow's cubic filter, which also averages when it shrinks."""
    if pixels.shape[1:] == (height, width):
        return pixels
    size = (width, height)
    planes = [Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC) for plane in pixels]
    return np.stack([np.asarray(plane) for plane in planes])


def mix_colours(pixels: Pixels, matrix: np.ndarray) -> Pixels:
    """Each colour out is a sum of colours in: ``matrix`` (3, 3), rows out, columns in."""
    red, green, blue = pixels
    rows = matrix.astype(np.float32)
    return np.stack([row[0] * red + row[1] * green + row[2] * blue for row in rows])


def enlarge(pixels: Pixels, height: int, width: int, cubic: Cubic) -> Pixels:
    """Resize with a Mitchell-Netravali kernel that does not average: for nearly the same size."""
    for axis, new in ((1, height), (2, width)):
        old = pixels.shape[axis]
        position = (np.arange(new) + 0.5) * (old / new) - 0.5
        first = np.floor(position).astype(np.intp)
        weights = _cubic_weights((position - first).astype(np.float32), cubic)
        shape = (1, new, 1) if axis == 1 else (1, 1, new)
        pixels = sum_products(
            (weight.reshape(shape), pixels.take(np.clip(first + tap, 0, old - 1), axis=axis))
            for tap, weight in zip(_TAPS, weights, strict=True)
        )
    return pixels


def warp(pixels: Pixels, down: np.ndarray, across: np.ndarray, cubic: Cubic) -> Pixels:
    """Read an image between its pixels with a Mitchell-Netravali kernel.

    Args:
        pixels: The image.
        down: Row to read for every pixel of the result, (H, W) float.
        across: Column to read, (H, W) float.
        cubic: The kernel.
    """
    top, left = np.floor(down).astype(np.intp), np.floor(across).astype(np.intp)
    row_weights = _cubic_weights((down - top).astype(np.float32), cubic)
    column_weights = _cubic_weights((across - left).astype(np.float32), cubic)
    height, width = pixels.shape[1:]
    columns = [np.clip(left + tap, 0, width - 1) for tap in _TAPS]
    flat = pixels.reshape(3, -1)
    result = np.zeros((3, *down.shape), np.float32)
    for tap, row_weight in zip(_TAPS, row_weights, strict=True):
        start = np.clip(top + tap, 0, height - 1) * width
        result += row_weight * sum_products(
            (column_weight, flat.take(start + column, axis=1))
            for column, column_weight in zip(columns, column_weights, strict=True)
        )
    return result


def sum_products(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Sum of the products of pairs of arrays."""
    products = (left * right for left, right in pairs)
    total: np.ndarray = next(products)
    for product in products:
        total += product
    return total


def _cubic_weights(position: np.ndarray, cubic: Cubic) -> list[np.ndarray]:
    """Weights of the taps at -1, 0, 1, 2 for a position between taps 0 and 1."""
    b, c = cubic
    weights = []
    for tap in _TAPS:
        t = np.abs(position - tap)
        near = ((12 - 9 * b - 6 * c) * t + (-18 + 12 * b + 6 * c)) * t * t + (6 - 2 * b)
        far = (((-b - 6 * c) * t + (6 * b + 30 * c)) * t + (-12 * b - 48 * c)) * t + (
            8 * b + 24 * c
        )
        weights.append((far if tap in (-1, 2) else near) / np.float32(6.0))
    return weights
