"""Frequency-guided feature enhancement as a plain author writes it: the DCT through an FFT.

One dimension at a time: put the even places in front of the odd ones in reverse, take the FFT, turn
each coefficient by its quarter sample, keep the real part (Makhoul, IEEE TASSP 1980). All three
colour channels go there and come back.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate


def dct(x: Tensor) -> Tensor:
    """DCT-II along the last dimension, unnormalised as scipy's."""
    shape, n = x.shape, x.shape[-1]
    x = x.contiguous().view(-1, n)
    reordered = torch.cat([x[:, ::2], x[:, 1::2].flip([1])], dim=1)
    transformed = torch.view_as_real(torch.fft.fft(reordered, dim=1))
    angle = -torch.arange(n, dtype=x.dtype, device=x.device)[None] * math.pi / (2 * n)
    turned = transformed[:, :, 0] * torch.cos(angle) - transformed[:, :, 1] * torch.sin(angle)
    return 2 * turned.view(shape)


def idct(x: Tensor) -> Tensor:
    """Undo :func:`dct`."""
    shape, n = x.shape, x.shape[-1]
    real = x.contiguous().view(-1, n) / 2
    angle = torch.arange(n, dtype=x.dtype, device=x.device)[None] * math.pi / (2 * n)
    imaginary = torch.cat([real[:, :1] * 0, -real.flip([1])[:, :-1]], dim=1)
    turned_real = real * torch.cos(angle) - imaginary * torch.sin(angle)
    turned_imaginary = real * torch.sin(angle) + imaginary * torch.cos(angle)
    turned = torch.cat([turned_real.unsqueeze(2), turned_imaginary.unsqueeze(2)], dim=2)
    reordered = torch.fft.irfft(torch.view_as_complex(turned), n=n, dim=1)
    found = reordered.new_zeros(reordered.shape)
    found[:, ::2] += reordered[:, : n - n // 2]
    found[:, 1::2] += reordered.flip([1])[:, : n // 2]
    return found.view(shape)


def dct_2d(x: Tensor) -> Tensor:
    """DCT-II of rows, then of columns."""
    return dct(dct(x).transpose(-1, -2)).transpose(-1, -2)


def idct_2d(x: Tensor) -> Tensor:
    """Undo :func:`dct_2d`."""
    return idct(idct(x).transpose(-1, -2)).transpose(-1, -2)


class PlainEnhancement(nn.Module):
    """``F * resize(pool(sigmoid(mean over channels of IDCT(M * DCT(x)))))``, step by step."""

    def __init__(self, cells: int = 8) -> None:
        super().__init__()
        self.cells = cells
        self.mask = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 1, 3, padding=1)
        )

    def attention(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, 1, cells, cells)."""
        spectrum = dct_2d(images)
        mask = torch.sigmoid(self.mask(spectrum))
        places = torch.sigmoid(idct_2d(spectrum * mask).mean(dim=1, keepdim=True))
        strides = [side // self.cells for side in images.shape[-2:]]
        sides = zip(images.shape[-2:], strides, strict=True)
        kernel = [side - (self.cells - 1) * stride for side, stride in sides]
        return avg_pool2d(places, kernel, strides)

    def forward(self, images: Tensor, maps: Tensor) -> Tensor:
        """Weigh the feature maps (B, C, y, x)."""
        attention = self.attention(images)
        if attention.shape[-2:] != maps.shape[-2:]:
            attention = interpolate(attention, maps.shape[-2:], mode="bilinear")
        return maps * attention
