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

The flip comes last and is a matter of the order in which pixels are read, since resizing a mirrored
image gives the mirrored result. All views of an image are made of one resize.

Every random number of an image is a function of (seed, epoch, view, position in the epoch) alone,
and every operation on pixels is in integers, or rounds each element by itself: the same bits in
any batch, process and number of threads.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple, Protocol

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from owdfa.config import Settings
from owdfa.loading.pixels import Normalise, empty_aligned, jitter, parallel_for, resize

Share = Annotated[float, Field(ge=0, le=1)]
Colour = tuple[float, float, float]

_ATTEMPTS = 10  # at a random crop that fits into the image, as torchvision's RandomResizedCrop
_LOG_RATIO = float(np.log(4 / 3))
_NUM_UNIFORMS = 28  # a Philox counter gives four at a time
_ORDER = 2  # the stream of ``owdfa.loading.sampling``


class ViewSettings(Settings):
    """Settings of the views. By default nothing is augmented."""

    size: int = Field(ge=8)
    """Side of what the network sees, in pixels."""
    crop_size: int | None = Field(default=None, ge=8)
    """Side of the strong view before its last resize; None for size."""
    flip: Share = 0.0
    """Share of mirrored images, in the weak and in the strong view."""
    crop: Share = 0.0
    """Share of random crops in the strong view."""
    crop_scale: tuple[Share, Share] = (0.5, 1.0)
    """Least and greatest area of a random crop, as a share of the image."""
    jitter: Share = 0.0
    """Share of images in the strong view whose brightness and contrast are changed."""
    jitter_strength: Share = 0.4
    """Factors lie between 1 minus this and 1 plus this."""


class Pixels(Protocol):
    """Crops (B, S, S, 3) uint8: an array, or ``owdfa.images.store.Crops``."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, S, S, 3)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> np.ndarray: ...


class AugmentParams(NamedTuple):
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

    def __call__(self, pixels: Pixels) -> Tensor:
        """Turn crops (B, S, S, 3) uint8 into images (B, 3, size, size) float32, normalised."""
        images = empty_aligned(len(pixels), self.size)
        normalise = Normalise(self.mean, self.std)

        def fill(rows: range) -> None:
            shown = resize(pixels[rows.start : rows.stop], self.size)
            for i, image in zip(rows, shown, strict=True):
                normalise(image, images[i])

        parallel_for(fill, len(pixels), self.size)
        return torch.from_numpy(images)


@dataclass(frozen=True)
class TrainingViews:
    """The views of crops that a method is trained on, as levels: the device normalises them.

    Attributes:
        kinds: Names of the views, e.g. ``("weak", "strong")``; each has random numbers of its own.
        settings: Sizes and shares.
        seed: With epoch, view and position it decides every random choice.
    """

    kinds: tuple[str, ...]
    settings: ViewSettings
    seed: int

    def __call__(self, pixels: Pixels, epoch: int, first: int) -> tuple[Tensor, ...]:
        """Make all views, each (B, 3, size, size) uint8.

        Args:
            pixels: Crops (B, S, S, 3) uint8.
            epoch: Counted from 0.
            first: Position in the epoch of the first crop; the others follow it.
        """
        count, side, settings = len(pixels), pixels.shape[1], self.settings
        params = [
            sample_params(
                random_rows((self.seed, epoch, _stream(view)), first, count), settings, side
            )
            for view in range(len(self.kinds))
        ]
        made = [np.empty((count, 3, settings.size, settings.size), np.uint8) for _ in self.kinds]

        def fill(rows: range) -> None:
            crops = pixels[rows.start : rows.stop]
            plain = resize(crops, settings.size)
            for kind, chosen, out in zip(self.kinds, params, made, strict=True):
                shown = VIEWS[kind](_Part(crops, plain, chosen, rows, settings))
                for i, image in zip(rows, shown, strict=True):
                    out[i] = _mirrored(image, chosen.flip[i]).transpose(2, 0, 1)

        parallel_for(fill, count, settings.size)
        return tuple(torch.from_numpy(view) for view in made)


def _stream(view: int) -> int:
    """Number of a view's random stream; the third is that of the order of images."""
    return view if view < _ORDER else view + 1


class _Part(NamedTuple):
    """Some crops of a batch, and what a view is made of."""

    crops: np.ndarray  # (n, S, S, 3) uint8
    plain: np.ndarray  # (n, size, size, 3): the same resized
    params: AugmentParams  # of the whole batch
    rows: range  # which of the batch these crops are
    settings: ViewSettings


def weak(part: _Part) -> Iterable[np.ndarray]:
    """Make the weak view, all but its flip: the crops resized."""
    return part.plain


def strong(part: _Part) -> Iterable[np.ndarray]:
    """Make the strong view, all but its flip; an image to which nothing happens is ``plain``'s."""
    crops, plain, params, rows, settings = part
    side, crop_size = crops.shape[1], settings.crop_size or settings.size
    shown = list(plain)
    changed = [
        k for k, i in enumerate(rows) if params.crop[i] or params.jitter[i] or side != crop_size
    ]
    if not changed:
        return shown
    middle = resize(crops[changed], crop_size)  # of a copy: it is written below
    for index, k in enumerate(changed):
        i = rows[k]
        if params.crop[i]:
            top, left, height, width = params.box[i]
            if params.flip[i]:  # the box is one of the mirrored image
                left = side - left - width
            box = crops[k, top : top + height, left : left + width]
            middle[index] = resize(box[None], crop_size)[0]
        if params.jitter[i]:
            order = bool(params.contrast_first[i])
            factors = params.brightness[i], params.contrast[i]
            middle[index] = jitter(middle[index], *factors, contrast_first=order)
    for k, image in zip(changed, resize(middle, settings.size), strict=True):
        shown[k] = image
    return shown


def random_rows(key: tuple[int, int, int], first: int, count: int) -> np.ndarray:
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


def sample_params(uniform: np.ndarray, settings: ViewSettings, side: int) -> AugmentParams:
    """Turn random numbers (B, 28) into choices for images of ``side`` x ``side`` pixels."""
    flip, crop, jitter, order, brightness, contrast, top, left = uniform[:, :8].T
    low = 1 - settings.jitter_strength
    spread = 2 * settings.jitter_strength
    return AugmentParams(
        flip=flip < settings.flip,
        crop=crop < settings.crop,
        box=_random_boxes(uniform[:, 8:], np.stack([top, left]), settings.crop_scale, side),
        jitter=jitter < settings.jitter,
        brightness=(low + spread * brightness).astype(np.float32),
        contrast=(low + spread * contrast).astype(np.float32),
        contrast_first=order < 0.5,
    )


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


VIEWS: Mapping[str, Callable[[_Part], Iterable[np.ndarray]]] = {"weak": weak, "strong": strong}


def _mirrored(image: np.ndarray, flip: np.bool) -> np.ndarray:
    """View an image (H, W, 3) from left to right, or from right to left."""
    return image[:, ::-1] if flip else image
