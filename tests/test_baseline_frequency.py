"""What the benchmark of FFE compares with must compute the same."""

import pytest
import torch
from scipy.fft import dctn, idctn

from benchmarks.baseline.frequency import PlainEnhancement, dct_2d, idct_2d
from owdfa.layers import FrequencyEnhancement


@pytest.mark.parametrize("size", [(8, 8), (7, 12)])
def test_dct_through_an_fft_is_scipys(size):
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    spectrum = dct_2d(x)
    expected = dctn(x.numpy(), type=2, norm=None, axes=(2, 3))
    torch.testing.assert_close(spectrum, torch.from_numpy(expected), rtol=0, atol=1e-10)
    back = torch.from_numpy(idctn(spectrum.numpy(), type=2, norm=None, axes=(2, 3)))
    torch.testing.assert_close(idct_2d(spectrum), back, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(32, 32), (19, 30)])
def test_enhancement_and_its_gradients(size):
    ours, plain = FrequencyEnhancement().double(), PlainEnhancement().double()
    plain.load_state_dict(ours.state_dict())
    images = torch.randn(3, 3, *size, dtype=torch.float64)
    maps = torch.randn(3, 4, 5, 6, dtype=torch.float64)
    found = [module(images, maps) for module in (ours, plain)]
    torch.testing.assert_close(*found, rtol=0, atol=1e-11)
    for enhanced in found:
        (enhanced * maps).sum().backward()
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-9, atol=1e-12)
