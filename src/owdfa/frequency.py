"""The discrete cosine transform as products with matrices, and a module that keeps these."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


def dct_matrix(size: int) -> Float[Tensor, "size size"]:
    """The DCT-II of ``size`` numbers as a matrix: ``C[k, n] = 2 cos(pi k (2n + 1) / (2 size))``.

    Unnormalised, as ``scipy.fft.dct(type=2, norm=None)``. In float64.
    """
    frequency = torch.arange(size, dtype=torch.float64)[:, None]
    position = 2 * torch.arange(size, dtype=torch.float64) + 1
    return 2 * torch.cos(torch.pi * frequency * position / (2 * size))


def inverse_dct_matrix(size: int) -> Float[Tensor, "size size"]:
    """The exact inverse of :func:`dct_matrix`: its transpose, each frequency scaled."""
    scale = torch.full((size,), 1 / (2 * size), dtype=torch.float64)
    scale[0] = 1 / (4 * size)
    return dct_matrix(size).T * scale


class DCT(nn.Module):
    """The DCT-II of the rows and columns of images, and its inverse.

    The matrices of a size are buffers, made when that size is first seen and left out of
    checkpoints. Call it once without a compiler before it is compiled.
    """

    def forward(self, x: Float[Tensor, "*batch h w"]) -> Float[Tensor, "*batch h w"]:
        """Transform rows and columns, as ``scipy.fft.dctn(type=2, norm=None)`` over both."""
        h, w = x.shape[-2:]
        return self._matrix("dct", h, x) @ x @ self._matrix("dct", w, x).T

    def inverse(self, x: Float[Tensor, "*batch h w"]) -> Float[Tensor, "*batch h w"]:
        """Undo ``forward``."""
        h, w = x.shape[-2:]
        return self._matrix("inverse", h, x) @ x @ self._matrix("inverse", w, x).T

    def _matrix(self, kind: str, size: int, like: Tensor) -> Tensor:
        """A matrix in the precision and on the device of ``like``; the buffer is in float64."""
        name = f"{kind}_{size}"
        if getattr(self, name, None) is None:
            # A buffer made while predicting must also serve a later training.
            with torch.inference_mode(False):
                made = (dct_matrix if kind == "dct" else inverse_dct_matrix)(size)
                self.register_buffer(name, made.to(like.device), persistent=False)
        matrix: Tensor = getattr(self, name)
        return matrix.to(like.device, like.dtype)
