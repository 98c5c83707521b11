"""Views: what a network sees of a crop. Weak and strong for training, plain for prediction.

CAL's augmentation (Zheng et al., AAAI 2026, arXiv:2512.12667); S = ``size``, C = ``crop_size``::

    weak     flip (p = 0.5); resize to S
    strong   flip (p = 0.5)
             p = 0.2: random resized crop to C (scale 0.5-1, ratio 3/4-4/3), otherwise resize to C
             p = 0.2: brightness and contrast jitter 0.4, in random order
             resize to S
    plain    resize to S

Pixels stay uint8 until the last step, as in the release, whose operations are Pillow's: resizing is
bilinear with antialiasing, jitter rounds like ``PIL.ImageEnhance``. A resize to the size that an
image already has is left out; it would change nothing.

Every random number of an image is a function of (seed, epoch, view, position in the epoch) alone,
and every operation on pixels is in integers, or rounds each element by itself: the same bits in
any batch, process and number of threads.
"""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate

from owdfa.config import Settings

Share = Annotated[float, Field(ge=0, le=1)]
Colour = tuple[float, float, float]

_ATTEMPTS = 10  # at a random crop that fits into the image, as torchvision's RandomResizedCrop
_LOG_RATIO = float(np.log(4 / 3))
_NUM_UNIFORMS = 28  # a Philox counter gives four at a time
_WEAK, _STRONG = 0, 1


class ViewSettings(Settings):
    """Settings of the views; the defaults are the paper's."""

    size: int = Field(default=256, ge=8)  # side of what the network sees, in pixels
    crop_size: int | None = Field(
        default=None, ge=8
    )  # before its last resize; None: size * 292 / 256
    flip: Share = 0.5
    crop: Share = 0.2  # share of random crops in the strong view
    crop_scale: tuple[Share, Share] = (0.5, 1.0)  # area of a random crop
    jitter: Share = 0.2  # share of jittered images in the strong view
    jitter_strength: Share = 0.4  # factors between 1 - this and 1 + this


class Draws(NamedTuple):
    """The random choices for B images, each array of length B."""

    flip: np.ndarray  # bool
    crop: np.ndarray  # bool
    box: np.ndarray  # (B, 4) int64: top, left, height, width of the random crop
    jitter: np.ndarray  # bool
    brightness: np.ndarray  # float32 factor
    contrast: np.ndarray  # float32 factor
    contrast_first: np.ndarray  # bool


@dataclass(frozen=True)
class PlainView:
    """What a network is shown when it predicts.

    Attributes:
        size: Side in pixels.
        mean, std: Per colour channel, for pixels in [0, 1].
    """

    size: int
    mean: Colour
    std: Colour

    def __call__(self, pixels: np.ndarray) -> Tensor:
        """Turn crops (B, S, S, 3) uint8 into images (B, 3, size, size) float32, normalised."""
        return normalise(_resize(_channels_first(pixels), self.size), self.mean, self.std)


@dataclass(frozen=True)
class TrainingViews:
    """The weak and the strong view of crops.

    Attributes:
        settings: Sizes and shares.
        mean, std: Per colour channel, for pixels in [0, 1].
        seed: With epoch and position it decides every random choice.
    """

    settings: ViewSettings
    mean: Colour
    std: Colour
    seed: int

    def __call__(self, pixels: np.ndarray, epoch: int, first: int) -> tuple[Tensor, Tensor]:
        """Make both views, each (B, 3, size, size) float32, normalised.

        Args:
            pixels: Crops (B, S, S, 3) uint8.
            epoch: Counted from 0.
            first: Position in the epoch of the first crop; the others follow it.
        """
        draw_weak, draw_strong = (
            draw(
                uniforms((self.seed, epoch, view), first, len(pixels)),
                self.settings,
                pixels.shape[1],
            )
            for view in (_WEAK, _STRONG)
        )
        images = _channels_first(pixels)
        weak = weak_view(images, draw_weak, self.settings)
        strong = strong_view(images, draw_strong, self.settings)
        return normalise(weak, self.mean, self.std), normalise(strong, self.mean, self.std)


def weak_view(images: Tensor, draws: Draws, settings: ViewSettings) -> Tensor:
    """Flip and resize images (B, 3, S, S) uint8."""
    return _resize(_flip(images, draws.flip), settings.size)


def strong_view(images: Tensor, draws: Draws, settings: ViewSettings) -> Tensor:
    """Flip, crop, jitter and resize images (B, 3, S, S) uint8."""
    crop_size = settings.crop_size or round(settings.size * 292 / 256)
    flipped = _flip(images, draws.flip)
    result = _resize(flipped, crop_size)
    if result is flipped:  # the crops below are still to be cut from it
        result = flipped.clone()
    for i in np.flatnonzero(draws.crop):
        top, left, height, width = draws.box[i]
        crop = flipped[i : i + 1, :, top : top + height, left : left + width]
        result[i] = _resize(crop, crop_size)[0]
    for i in np.flatnonzero(draws.jitter):
        result[i] = _jitter(result[i], draws, int(i))
    return _resize(result, settings.size)


def uniforms(key: tuple[int, int, int], first: int, count: int) -> np.ndarray:
    """Random numbers for the positions ``first``, ``first + 1``, ... of an epoch.

    A row depends on ``key`` and its own position, not on where the batch begins.

    Args:
        key: Seed, epoch and view.
        first: Position of the first row.
        count: Number of rows.

    Returns:
        (count, 28) float64 in [0, 1).
    """
    words = np.random.SeedSequence(key).generate_state(2, np.uint64)
    stream = np.random.Philox(key=words, counter=first * (_NUM_UNIFORMS // 4))
    raw = stream.random_raw(count * _NUM_UNIFORMS).reshape(count, _NUM_UNIFORMS)
    return np.asarray((raw >> np.uint64(11)) * 2.0**-53)


def draw(uniform: np.ndarray, settings: ViewSettings, side: int) -> Draws:
    """Turn random numbers (B, 28) into choices for images of ``side`` x ``side`` pixels."""
    flip, crop, jitter, order, brightness, contrast, top, left = uniform[:, :8].T
    low = 1 - settings.jitter_strength
    spread = 2 * settings.jitter_strength
    return Draws(
        flip=flip < settings.flip,
        crop=crop < settings.crop,
        box=_random_boxes(uniform[:, 8:], np.stack([top, left]), settings.crop_scale, side),
        jitter=jitter < settings.jitter,
        brightness=(low + spread * brightness).astype(np.float32),
        contrast=(low + spread * contrast).astype(np.float32),
        contrast_first=order < 0.5,
    )


def normalise(images: Tensor, mean: Colour, std: Colour) -> Tensor:
    """Turn uint8 images (B, 3, H, W) into (x / 255 - mean) / std, float32, contiguous."""
    scale = torch.tensor([1 / (255 * s) for s in std]).view(3, 1, 1)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]).view(3, 1, 1)
    # Two operations, not one fused: a fused one may round by the place of an element in memory.
    return images.to(torch.float32, memory_format=torch.contiguous_format).mul_(scale).add_(shift)


def _random_boxes(
    attempts: np.ndarray, place: np.ndarray, scale: tuple[float, float], side: int
) -> np.ndarray:
    """The first of ten random boxes that fits; the whole image when none does.

    Args:
        attempts: (B, 20) random numbers: ten for the area, ten for the ratio of width to height.
        place: (2, B) random numbers, from top to bottom and from left to right.
        scale: Smallest and largest area, as a share of the image.
        side: Of the images.

    Returns:
        (B, 4) int64: top, left, height, width.
    """
    area = side**2 * (scale[0] + (scale[1] - scale[0]) * attempts[:, :_ATTEMPTS])
    ratio = np.exp(_LOG_RATIO * (2 * attempts[:, _ATTEMPTS:] - 1))
    sides = np.rint(np.stack([np.sqrt(area / ratio), np.sqrt(area * ratio)])).astype(np.int64)
    fits = ((sides > 0) & (sides <= side)).all(axis=0)
    first = fits.argmax(axis=1)
    chosen = np.where(fits.any(axis=1), sides[:, np.arange(len(first)), first], side)
    corner = np.floor(place * (side - chosen + 1)).astype(np.int64)
    return np.concatenate([corner, chosen]).T


def _jitter(image: Tensor, draws: Draws, i: int) -> Tensor:
    """Change brightness and contrast of an image (3, H, W) uint8, in the order drawn."""
    if draws.contrast_first[i]:
        return _brightness(_contrast(image, draws.contrast[i]), draws.brightness[i])
    return _contrast(_brightness(image, draws.brightness[i]), draws.contrast[i])


def _brightness(image: Tensor, factor: np.float32) -> Tensor:
    return _blend(image, 0, factor)


def _contrast(image: Tensor, factor: np.float32) -> Tensor:
    red, green, blue = image.to(torch.int32)
    grey = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16  # Pillow's "L"
    mean = int(grey.sum().item() / grey.numel() + 0.5)
    return _blend(image, mean, factor)


def _blend(image: Tensor, ground: int, factor: np.float32) -> Tensor:
    """``PIL.Image.blend`` of a flat image and ``image``: one table of 256 entries does it."""
    level = np.arange(256, dtype=np.float32) - np.float32(ground)
    table = np.clip(np.float32(ground) + factor * level, 0, 255).astype(np.uint8)
    return torch.from_numpy(table[image.numpy()])


def _flip(images: Tensor, chosen: np.ndarray) -> Tensor:
    """Mirror the chosen images left to right, in a copy."""
    result = images.clone()
    rows = torch.from_numpy(np.flatnonzero(chosen))
    result[rows] = images[rows].flip(-1)
    return result


def _resize(images: Tensor, side: int) -> Tensor:
    """Resize (B, 3, h, w) uint8 to (B, 3, side, side), bilinear with antialiasing, as Pillow."""
    if images.shape[-2:] == (side, side):
        return images
    return interpolate(images, (side, side), mode="bilinear", align_corners=False, antialias=True)


def _channels_first(pixels: np.ndarray) -> Tensor:
    """View crops (B, S, S, 3) as images (B, 3, S, S), in channels-last memory: nothing is moved."""
    return torch.from_numpy(np.require(pixels, requirements=["C", "W"])).permute(0, 3, 1, 2)
