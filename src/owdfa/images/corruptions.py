"""What becomes of an image on its way to whoever examines it: pure functions of its pixels.

Each takes and gives (H, W, 3) uint8 RGB, changes nothing that it is given, and gives the same for
the same arguments; where chance is in it, a seed is an argument. At the level that means "nothing"
(a share of 1, a deviation of 0, a gamma of 1) the pixels come back as they are. An image that
becomes smaller stays smaller: whoever crops it decides on its size.
"""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """The JPEG file of an image: libjpeg's tables at ``quality`` (1 to 100), chroma 4:2:0."""
    return _encode(image, "JPEG", quality=quality, subsampling="4:2:0")


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Save as JPEG at ``quality`` (1 to 100) and open again."""
    return _decode(encode_jpeg(image, quality))


def webp(image: np.ndarray, quality: int) -> np.ndarray:
    """Save as lossy WebP at ``quality`` (0 to 100) and open again."""
    return _decode(_encode(image, "WEBP", quality=quality))


def scale(image: np.ndarray, share: float) -> np.ndarray:
    """Resize both sides to ``share`` of theirs, at least one pixel; bicubic, without aliasing."""
    height, width = image.shape[:2]
    return _resize(image, (max(round(share * width), 1), max(round(share * height), 1)))


def down_up(image: np.ndarray, share: float) -> np.ndarray:
    """Resize to ``share`` of both sides, and back to the size that it had."""
    return _resize(scale(image, share), (image.shape[1], image.shape[0]))


def centre_crop(image: np.ndarray, share: float) -> np.ndarray:
    """Keep ``share`` of both sides, about the centre; at least one pixel."""
    sides = [max(round(share * side), 1) for side in image.shape[:2]]
    top, left = ((old - new) // 2 for old, new in zip(image.shape, sides, strict=False))
    return image[top : top + sides[0], left : left + sides[1]].copy()


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur by a Gaussian whose standard deviation is ``sigma`` pixels; edges are mirrored."""
    if not sigma:
        return image.copy()
    from scipy.ndimage import gaussian_filter  # verdicts need the other functions alone, and soon

    return _rounded(gaussian_filter(image.astype(np.float32), (sigma, sigma, 0), mode="reflect"))


def noise(image: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    """Add Gaussian noise whose standard deviation is ``sigma`` of 255 levels; clipped."""
    drawn = np.random.default_rng(seed).standard_normal(image.shape, dtype=np.float32)
    return _rounded(image + np.float32(sigma) * drawn)


def screenshot(image: np.ndarray, share: float, gamma: float, warmth: float) -> np.ndarray:
    """Show at ``share`` of its size on a screen with other colours, and keep what is shown.

    What is saved as PNG is what was shown: the file itself changes nothing.

    Args:
        image: (H, W, 3) uint8.
        share: Of both sides.
        gamma: Exponent of the grey levels; above 1 is darker.
        warmth: Red is multiplied by 1 + this, blue by 1 - this.
    """
    shown = scale(image, share).astype(np.float32) / 255
    gains = np.array([1 + warmth, 1, 1 - warmth], np.float32)
    return _rounded(255 * shown ** np.float32(gamma) * gains)


def upload(image: np.ndarray, steps: Sequence[tuple[float, int]]) -> np.ndarray:
    """Pass an image on: at each step it is resized to a share, and saved as JPEG at a quality."""
    for share, quality in steps:
        image = jpeg(scale(image, share), quality)
    return image


def _encode(image: np.ndarray, kind: str, **options: object) -> bytes:
    stream = BytesIO()
    Image.fromarray(image).save(stream, kind, **options)
    return stream.getvalue()


def _decode(data: bytes) -> np.ndarray:
    with Image.open(BytesIO(data)) as opened:
        return np.array(opened.convert("RGB"))


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if size == (image.shape[1], image.shape[0]):
        return image.copy()
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def _rounded(values: np.ndarray) -> np.ndarray:
    """Values in grey levels, (H, W, 3) float, as uint8."""
    levels: np.ndarray = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return levels
