"""Layers that several methods share."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, normalize, pad

from owdfa.errors import UserError
from owdfa.frequency import DCT


def pool_cells(
    x: Float[Tensor, "batch channels h w"], n: int
) -> Float[Tensor, "batch channels n n"]:
    """Average over n x n cells of equal size, which overlap when n does not divide the size.

    In each direction the stride is ``floor(size / n)`` and the kernel ``size - (n - 1) * stride``.
    This is the releases' rule; it is not adaptive pooling.

    Raises:
        ValueError: A side is shorter than n.
    """
    height, width = x.shape[-2:]
    if min(height, width) < n:
        raise ValueError(f"cannot pool {height} x {width} pixels to {n} x {n} cells")
    strides = (height // n, width // n)
    kernel = (height - (n - 1) * strides[0], width - (n - 1) * strides[1])
    return avg_pool2d(x, kernel, strides)


@final
class FrequencyEnhancement(nn.Module):
    """Weigh places of a feature map by what the image's frequencies say of them.

    FFE in CAL (Zheng et al., AAAI 2026, arXiv:2512.12667)::

        f = DCT(x)                               x: the image, each colour channel for itself
        M = sigmoid(conv(relu(conv(f))))         which frequencies count; one map for all channels
        A = mean over channels of IDCT(M * f)
        F <- F * pool(sigmoid(A))                8 x 8 cells, resized to F where it differs

    All of it in the precision of the weights, also under autocast: coefficients grow with the
    number of pixels, and bfloat16 would lose what the small ones say.
    """

    def __init__(self, cells: int = 8) -> None:
        super().__init__()
        self.cells = cells
        self.dct = DCT()
        self.mask = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 1, 3, padding=1)
        )

    def forward(
        self, images: Float[Tensor, "batch 3 h w"], maps: Float[Tensor, "batch channels y x"]
    ) -> Float[Tensor, "batch channels y x"]:
        """Multiply feature maps by the attention that their images ask for."""
        return maps * self.weights(images, maps)

    def weights(
        self, images: Float[Tensor, "batch 3 h w"], maps: Float[Tensor, "batch channels y x"]
    ) -> Float[Tensor, "batch 1 y x"]:
        """Compute the attention at the places of feature maps, in their precision."""
        attention = self.attention(images)
        if attention.shape[-2:] != maps.shape[-2:]:
            attention = interpolate(
                attention, size=maps.shape[-2:], mode="bilinear", align_corners=False
            )
        return attention.to(maps.dtype)

    def attention(
        self, images: Float[Tensor, "batch 3 h w"]
    ) -> Float[Tensor, "batch 1 cells cells"]:
        """Compute the attention in (0, 1), one value a cell."""
        with torch.autocast(images.device.type, enabled=False):
            spectrum: Tensor = self.dct(images.to(next(self.mask.parameters()).dtype))
            # Channels last: a third less time on a CPU for so few of them.
            maps = self.mask(spectrum.contiguous(memory_format=torch.channels_last))
            # Below -50 the sigmoid is as good as 0; a denormal number costs a hundred times more.
            mask = maps.clamp(min=-50).sigmoid()
            # The inverse is linear and M is one map: the mean over channels may come first.
            heights = self.dct.inverse(mask * spectrum.mean(dim=1, keepdim=True))
            return pool_cells(heights.sigmoid(), self.cells)


@final
class Neck(nn.Module):
    """Average a feature map over its places and normalise it over the batch.

    BNNeck (Luo et al., CVPRW 2019, arXiv:1903.07071): the shift is fixed at 0, so that a linear
    classifier without bias can follow.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)
        self.norm.bias.requires_grad_(False)

    def forward(
        self,
        maps: Float[Tensor, "batch dim y x"],
        weights: Float[Tensor, "batch 1 y x"] | None = None,
    ) -> Float[Tensor, "batch dim"]:
        """Give one feature vector an image, from ``maps * weights`` where there are weights."""
        features: Tensor = self.norm(
            maps.mean(dim=(2, 3)) if weights is None else _mean(maps, weights)
        )
        return features


@final
class CellNecks(nn.Module):
    """Features of the n x n cells of a feature map, each cell with a ``Neck`` of its own.

    One batch normalisation over (channel, cell) is all of them. Cell features are compared and
    never classified, so that nothing trains the scale: it stays as it is.

    Args:
        channels: Of the feature map.
        num_cells: n, in each direction.
    """

    def __init__(self, channels: int, num_cells: int) -> None:
        super().__init__()
        self.num_cells = num_cells
        self.norm = nn.BatchNorm1d(channels * num_cells**2)
        self.norm.requires_grad_(False)

    def forward(self, maps: Float[Tensor, "batch dim y x"]) -> Float[Tensor, "batch dim cells"]:
        """Pool (``pool_cells``) and normalise each cell; no gradient.

        Raises:
            UserError: The map has fewer places than cells.
        """
        if min(maps.shape[-2:]) < self.num_cells:
            height, width = maps.shape[-2:]
            raise UserError(
                f"method.cells: a feature map of {height} x {width} has no {self.num_cells} x"
                f" {self.num_cells} cells; set fewer, or larger images (data.views.size)"
            )
        with torch.no_grad():
            cells = pool_cells(maps, self.num_cells).flatten(2)
            features: Tensor = self.norm(cells.flatten(1))
        return features.view(cells.shape)


def haar_bands(
    maps: Float[Tensor, "batch dim h w"],
) -> tuple[Float[Tensor, "batch dim y x"], ...]:
    """The three high bands of a one-level Haar wavelet transform, each half as large.

    In order: differences of rows, of columns, of both. A side of odd length is continued by zeros.
    """
    height, width = maps.shape[-2:]
    maps = pad(maps, (0, width % 2, 0, height % 2))
    top, bottom = maps[..., 0::2, :], maps[..., 1::2, :]
    (a, b), (c, d) = ((rows[..., 0::2], rows[..., 1::2]) for rows in (top, bottom))
    return (a + b - c - d) / 2, (a - b + c - d) / 2, (a - b - c + d) / 2


def _mean(
    maps: Float[Tensor, "batch dim y x"], weights: Float[Tensor, "batch 1 y x"]
) -> Float[Tensor, "batch dim"]:
    """``(maps * weights).mean(dim=(2, 3))`` as one product, which never holds the weighed maps."""
    places = maps.permute(0, 2, 3, 1).flatten(1, 2)  # (batch, y x, dim): channels last as they are
    return (weights.flatten(2) @ places)[:, 0] / places.shape[1]


@final
class Prototypes(nn.Module):
    """One vector a class; an embedding's logit is its inner product with it.

    There are ``num_classes`` rows from first to last. The first ``num_active`` are scored; the
    others, which were pruned, are zero. The checkpoint holds their number (buffer ``active``);
    ``num_active`` repeats it as an integer, so that a step need not wait for the device.

    Args:
        num_classes: Number of vectors.
        dim: Their length.
        scale: Standard deviation that they are drawn with.
    """

    def __init__(self, num_classes: int, dim: int, scale: float) -> None:
        super().__init__()
        self.vectors = nn.Parameter(scale * torch.randn(num_classes, dim))
        self.num_active = num_classes
        self.active: Tensor
        self.register_buffer("active", torch.tensor(num_classes))
        self.register_load_state_dict_post_hook(_read_active)  # type: ignore[no-untyped-call]

    def forward(self, embedding: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch active"]:
        """Score embeddings, in the precision of the vectors also under autocast."""
        with torch.autocast(embedding.device.type, enabled=False):
            return embedding.to(self.vectors.dtype) @ self.vectors[: self.num_active].T

    @torch.no_grad()
    def replace(self, vectors: Float[Tensor, "active dim"]) -> None:
        """Let ``vectors`` be the active ones."""
        self.num_active = len(vectors)
        self.active.fill_(self.num_active)
        self.vectors[: self.num_active] = vectors
        self.vectors[self.num_active :] = 0


def _read_active(prototypes: nn.Module, _: object) -> None:
    """Bring the integer up to date with the buffer just loaded."""
    assert isinstance(prototypes, Prototypes)
    prototypes.num_active = int(prototypes.active)


@final
class CosineClassifier(nn.Module):
    """One vector a class; an embedding's logit is its cosine with it over a temperature.

    The vectors are normalised where they are used, so that their length decides only how fast an
    optimiser turns them: the longer, the slower.

    Args:
        num_classes: Number of vectors.
        dim: Their length as arrays.
        temperature: What the cosines are divided by.
        norm: Euclidean length of the vectors at the start.
    """

    def __init__(self, num_classes: int, dim: int, temperature: float, norm: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.vectors = nn.Parameter(norm * normalize(2 * torch.rand(num_classes, dim) - 1))

    def forward(self, embedding: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch classes"]:
        """Score embeddings, in the precision of the vectors also under autocast."""
        with torch.autocast(embedding.device.type, enabled=False):
            unit = normalize(embedding.to(self.vectors.dtype))
            return unit @ normalize(self.vectors).T / self.temperature


@final
class ProjectionHead(nn.Module):
    """Three linear layers with GELU between them, from an embedding to what is contrasted.

    As DINO's head (Caron et al., ICCV 2021, arXiv:2104.14294) begins: weights from a normal
    distribution of deviation 0.02 cut off at 2, no shift at the start.
    """

    def __init__(self, dim: int, hidden: int, out: int) -> None:
        super().__init__()
        linears = [nn.Linear(dim, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, out)]
        for linear in linears:
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
        self.layers = nn.Sequential(linears[0], nn.GELU(), linears[1], nn.GELU(), linears[2])

    def forward(self, embedding: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch out"]:
        """Project embeddings, in the precision of the weights also under autocast."""
        with torch.autocast(embedding.device.type, enabled=False):
            projected: Tensor = self.layers(embedding.to(next(self.parameters()).dtype))
        return projected
