"""Both views of a training batch, made on the device where its crops are: the host's to the bit.

A resize is two products with matrices that hold the weights of the filter; flip and random crop
are other columns and rows of the same matrices::

    view = round(R_y @ round(X @ R_x^T))             for each image its own R_y, R_x

torch resizes uint8 on the host with weights that are multiples of 2^-p, and rounds to whole levels
after each direction. The same weights are used here: every product and every sum is a whole
multiple of 2^-p below 2^24 of them, hence exact in float32 in whatever order it is taken. (Where an
image shrinks so much that this does not hold, or torch was told to take TF32 for float32, float64
is taken.) The jitter is arithmetic that rounds each element by itself.

Nothing here makes the device wait: random choices are drawn on the host, for a whole epoch at once.
"""

from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from owdfa.images.pixels import resize_taps, scale_and_shift
from owdfa.images.views import Colour, Draws, ViewSettings, draw, uniforms

_EXACT = 2**24  # float32 holds every whole number up to here
_LEVELS = 255.5  # the greatest level, and the half that rounding adds


class Choices(NamedTuple):
    """Random choices for N images of one view, on the device.

    What is not done to an image is said as doing nothing: a crop to all of it, a factor of 1.
    """

    flip: Tensor  # (N,) bool
    box: Tensor  # (N, 4) int64: top, left, height, width
    brightness: Tensor  # (N,) float32
    contrast: Tensor  # (N,) float32
    contrast_first: Tensor  # (N,) bool

    def part(self, span: slice) -> "Choices":
        """Those of some images; nothing is copied."""
        return Choices(*(field[span] for field in self))


class EpochChoices(NamedTuple):
    """Of both views."""

    weak: Choices
    strong: Choices

    def part(self, span: slice) -> "EpochChoices":
        """Those of some images."""
        return EpochChoices(self.weak.part(span), self.strong.part(span))


class _Taps(NamedTuple):
    """The weights that resize any length up to the longest to ``side``, by length."""

    first: Tensor  # (lengths, side) int64: where the weights of an element begin
    weights: Tensor  # (lengths, side, taps)

    @property
    def side(self) -> int:
        return self.first.shape[1]


@final
class DeviceViews:
    """What ``owdfa.images.views.TrainingViews`` makes, for crops on a device.

    Args:
        settings: Sizes and shares.
        store_size: Side of the crops in pixels.
        mean, std: Per colour channel, for pixels in [0, 1].
        device: Where the views are made.
    """

    def __init__(
        self,
        settings: ViewSettings,
        store_size: int,
        *,
        mean: Colour,
        std: Colour,
        device: torch.device,
    ) -> None:
        self.settings = settings
        self.store_size = store_size
        self.device = device
        size = settings.size
        crop_size = settings.crop_size or round(size * 292 / 256)
        self._weak = _taps(range(store_size, store_size + 1), size, device)
        self._strong = _taps(range(store_size + 1), crop_size, device)
        self._last = None
        if crop_size != size:
            last = _taps(range(crop_size, crop_size + 1), size, device)
            zero = torch.zeros(1, dtype=torch.int64, device=device)
            self._last = _matrices(last, zero, zero, zero.bool(), crop_size)
        self._scale, self._shift = (
            torch.from_numpy(each).to(device) for each in scale_and_shift(mean, std)
        )

    def choose(self, seed: int, epoch: int, num_images: int) -> EpochChoices:
        """Draw the choices of a whole epoch, the same as the host's, and bring them to the device.

        Memory: some 50 bytes an image and view.
        """
        drawn = (
            draw(uniforms((seed, epoch, view), 0, num_images), self.settings, self.store_size)
            for view in (0, 1)
        )
        return EpochChoices(*(self._bring(each) for each in drawn))

    def __call__(self, pixels: Tensor, choices: EpochChoices) -> tuple[Tensor, Tensor]:
        """Make both views, each (B, 3, size, size) float32, normalised, in channels-last memory.

        Args:
            pixels: Crops (B, S, S, 3) uint8, on the device.
            choices: Of these images.
        """
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            images = pixels.permute(0, 1, 3, 2).to(
                torch.float32, memory_format=torch.contiguous_format
            )
            weak = self._normalise(self._weak_view(images, choices.weak))
            return weak, self._normalise(self._strong_view(images, choices.strong))

    def _weak_view(self, images: Tensor, choices: Choices) -> Tensor:
        start = torch.zeros_like(choices.box[:, 0])
        rows = _matrices(self._weak, start, start, start.bool(), self.store_size)
        columns = _matrices(self._weak, start, start, choices.flip, self.store_size)
        return _resample(images, rows, columns)

    def _strong_view(self, images: Tensor, choices: Choices) -> Tensor:
        top, left, height, width = choices.box.unbind(dim=1)
        rows = _matrices(self._strong, top, height, torch.zeros_like(choices.flip), self.store_size)
        # A crop is cut from the flipped image: its left edge counts from there.
        columns = _matrices(self._strong, left, width, choices.flip, self.store_size)
        crops = _jitter(_resample(images, rows, columns), choices)
        if self._last is None:
            return crops
        last = self._last.expand(len(crops), -1, -1)
        return _resample(crops, last, last)

    def _normalise(self, images: Tensor) -> Tensor:
        """(B, y, 3, x) whole levels to (B, 3, y, x), (x / 255 - mean) / std."""
        pixels = images.permute(0, 1, 3, 2).contiguous()
        # Two operations, not one fused, as on the host.
        return pixels.permute(0, 3, 1, 2).mul_(self._scale).add_(self._shift)

    def _bring(self, drawn: Draws) -> Choices:
        whole = np.array([0, 0, self.store_size, self.store_size])
        one = np.float32(1)
        arrays = (
            drawn.flip,
            np.where(drawn.crop[:, None], drawn.box, whole),
            np.where(drawn.jitter, drawn.brightness, one),
            np.where(drawn.jitter, drawn.contrast, one),
            drawn.contrast_first,
        )
        return Choices(*(send(each, self.device) for each in arrays))


def send(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array to the device, by way of page-locked memory: the caller does not wait."""
    tensor = torch.from_numpy(array.copy())
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def _taps(lengths: range, side: int, device: torch.device) -> _Taps:
    """The weights of every length in ``lengths``, counted from its first; see ``resize_taps``."""
    rows = [resize_taps(max(1, length), side) for length in lengths]
    most = max(weights.shape[1] for _, weights, _ in rows)
    first = np.stack([first for first, _, _ in rows])
    weights = np.stack([np.pad(w, ((0, 0), (0, most - w.shape[1]))) for _, w, _ in rows])
    exact = max(precision for _, _, precision in rows) * _LEVELS <= _EXACT
    exact &= torch.get_float32_matmul_precision() == "highest"
    dtype = torch.float32 if exact else torch.float64
    return _Taps(torch.from_numpy(first).to(device), torch.from_numpy(weights).to(device, dtype))


def _matrices(taps: _Taps, start: Tensor, length: Tensor, flip: Tensor, source: int) -> Tensor:
    """Matrices that cut ``length`` elements from ``start`` on and resize them: (B, side, source).

    Args:
        taps: The weights.
        start: (B,) int64.
        length: (B,) int64, counted from the first length that ``taps`` knows.
        flip: (B,) bool: whether the source is mirrored first.
        source: Number of elements of the source.
    """
    weights = taps.weights.index_select(0, length)
    spare = weights.shape[2] - 1  # room on either side for weights beyond the source, all 0
    offsets = torch.arange(spare + 1, device=weights.device)
    place = start[:, None, None] + taps.first.index_select(0, length)[:, :, None] + offsets
    place = torch.where(flip[:, None, None], source - 1 - place, place) + spare
    matrices = weights.new_zeros(len(start), taps.side, source + 2 * spare)
    return matrices.scatter_(2, place, weights)[:, :, spare : spare + source]


def _resample(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Resize (B, h, 3, w) with the matrices (B, y, h) and (B, x, w) to (B, y, 3, x) float32."""
    num, height, channels, width = images.shape
    new_height, new_width = rows.shape[1], columns.shape[1]
    flat = images.to(columns.dtype).reshape(num, height * channels, width)
    across = _whole_levels(torch.bmm(flat, columns.transpose(1, 2)))
    down = torch.bmm(rows, across.view(num, height, channels * new_width))
    return _whole_levels(down).view(num, new_height, channels, new_width).float()


def _whole_levels(images: Tensor) -> Tensor:
    """Round to whole levels; weights are positive and add up to 1: 0 to 255 is never left."""
    return images.add_(0.5).floor_()


def _jitter(images: Tensor, choices: Choices) -> Tensor:
    """Change brightness and contrast of (B, h, 3, w) in the order drawn, as ``PIL.Image.blend``."""
    for by_contrast in (choices.contrast_first, ~choices.contrast_first):
        ground = (_mean_grey(images) * by_contrast)[:, None, None, None]
        factor = torch.where(by_contrast, choices.contrast, choices.brightness)
        images = images.sub_(ground).mul_(factor[:, None, None, None])
        images = images.add_(ground).clamp_(0, 255).floor_()
    return images


def _mean_grey(images: Tensor) -> Tensor:
    """The mean level of Pillow's "L", (B,) whole numbers in float32."""
    red, green, blue = images.unbind(dim=2)
    grey = ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) / 0x10000).floor_()
    mean = grey.sum(dim=(1, 2), dtype=torch.float64) / (grey.shape[1] * grey.shape[2])
    return (mean + 0.5).floor().float()
