import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dctn, idctn

from owdfa.frequency import DCT, dct_matrix, inverse_dct_matrix
from owdfa.layers import FrequencyEnhancement, Neck, Prototypes, pool_cells

sides = st.integers(1, 33)


@settings(deadline=None, max_examples=30)
@given(sides, sides)
def test_dct_is_scipys_unnormalised_one(h, w):
    x = torch.randn(2, 3, h, w, dtype=torch.float64)
    expected = torch.from_numpy(dctn(x.numpy(), type=2, norm=None, axes=(2, 3)))
    dct = DCT()
    torch.testing.assert_close(dct(x), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(dct.inverse(expected), x, rtol=0, atol=1e-12)


def test_dct_of_a_constant_is_its_sum():
    spectrum = DCT()(torch.ones(1, 1, 5, 7, dtype=torch.float64))
    assert spectrum[0, 0, 0, 0].item() == pytest.approx(4 * 5 * 7)
    assert spectrum.flatten()[1:].abs().max().item() < 1e-9


def test_the_inverse_of_the_matrix_undoes_it():
    product = inverse_dct_matrix(9) @ dct_matrix(9)
    torch.testing.assert_close(product, torch.eye(9, dtype=torch.float64), rtol=0, atol=1e-12)


def test_a_matrix_made_without_gradients_serves_a_training_and_is_in_no_checkpoint():
    dct = DCT()
    with torch.inference_mode():
        dct(torch.ones(1, 1, 11, 11))
    x = torch.ones(1, 1, 11, 11, requires_grad=True)
    dct(x * x).sum().backward()
    assert x.grad.isfinite().all()
    assert not dct.state_dict()


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 8), st.integers(0, 20), st.integers(0, 20))
def test_cells_by_hand(n, more_rows, more_columns):
    h, w = n + more_rows, n + more_columns
    x = torch.randn(1, 2, h, w, dtype=torch.float64)
    found = pool_cells(x, n)
    steps = (h // n, w // n)
    lengths = (h - (n - 1) * steps[0], w - (n - 1) * steps[1])
    for i in range(n):
        for j in range(n):
            top, left = i * steps[0], j * steps[1]
            cell = x[:, :, top : top + lengths[0], left : left + lengths[1]]
            torch.testing.assert_close(found[:, :, i, j], cell.mean(dim=(2, 3)))
    assert (n - 1) * steps[0] + lengths[0] == h  # the last cell ends where the image does


def test_too_few_pixels_for_the_cells():
    with pytest.raises(ValueError, match="4 x 9 pixels"):
        pool_cells(torch.zeros(1, 1, 4, 9), 8)


@pytest.mark.parametrize("size", [(16, 16), (19, 30)])
def test_attention_by_hand(size):
    ffe = FrequencyEnhancement().double()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    found = ffe.attention(x)
    for image, attention in zip(x, found, strict=True):
        spectrum = dctn(image.numpy(), type=2, norm=None, axes=(1, 2))
        mask = ffe.mask(torch.from_numpy(spectrum)[None]).sigmoid()[0, 0].detach().numpy()
        places = np.mean([idctn(mask * f, type=2, norm=None) for f in spectrum], axis=0)
        expected = pool_cells(torch.from_numpy(1 / (1 + np.exp(-places)))[None, None], 8)[0]
        torch.testing.assert_close(attention.detach(), expected, rtol=0, atol=1e-10)


def test_enhancement_weighs_places_and_nothing_else():
    ffe = FrequencyEnhancement()
    images, maps = torch.randn(2, 3, 32, 32), torch.randn(2, 5, 8, 8)
    enhanced = ffe(images, maps)
    torch.testing.assert_close(enhanced, maps * ffe.attention(images))
    assert (ffe.attention(images) > 0).all()
    assert (ffe.attention(images) < 1).all()


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 9), (16, 16)])
def test_attention_is_resized_to_the_map(size):
    ffe = FrequencyEnhancement()
    enhanced = ffe(torch.randn(2, 3, 32, 32), torch.ones(2, 5, *size))
    assert enhanced.shape == (2, 5, *size)
    assert (enhanced[:, :1] == enhanced).all()  # all channels alike


def test_a_mask_far_below_zero_is_no_denormal_number():
    ffe, images = FrequencyEnhancement(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        ffe.mask[2].bias.fill_(-95.0)  # whose sigmoid float32 holds with few digits, and slowly
        ffe.mask[2].weight.zero_()
    attention = ffe.attention(images)
    torch.testing.assert_close(attention, torch.full_like(attention, 0.5))
    attention.sum().backward()
    smallest = torch.finfo(torch.float32).tiny
    assert all(((p.grad == 0) | (p.grad.abs() >= smallest)).all() for p in ffe.parameters())


def test_frequencies_keep_their_precision_under_autocast():
    ffe, images = FrequencyEnhancement(), torch.randn(2, 3, 32, 32)
    maps = torch.randn(2, 5, 8, 8, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        attention, enhanced = ffe.attention(images), ffe(images, maps)
    assert torch.equal(attention, ffe.attention(images))
    assert enhanced.dtype == torch.bfloat16  # the map stays as light as it was


def test_neck_by_hand():
    neck, maps = Neck(4).double(), torch.randn(6, 4, 3, 5, dtype=torch.float64)
    found = neck(maps).detach().numpy()
    pooled = maps.numpy().sum(axis=(2, 3)) / 15
    expected = (pooled - pooled.mean(axis=0)) / np.sqrt(pooled.var(axis=0) + 1e-5)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert [name for name, p in neck.named_parameters() if p.requires_grad] == ["norm.weight"]


def test_neck_weighs_places():
    neck, maps, weights = Neck(4).eval(), torch.randn(6, 4, 3, 5), torch.rand(6, 1, 3, 5)
    expected = neck(maps * weights)
    torch.testing.assert_close(neck(maps, weights), expected)
    last = maps.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(neck(last, weights), expected)


def test_prototypes_are_drawn_with_their_scale():
    vectors = Prototypes(200, 300, 0.001).vectors
    assert vectors.std().item() == pytest.approx(0.001, rel=0.02)
    assert abs(vectors.mean().item()) < 5 * 0.001 / math.sqrt(60_000)


def test_only_live_prototypes_are_scored():
    prototypes, embedding = Prototypes(5, 3, 1.0), torch.randn(4, 3)
    assert prototypes(embedding).shape == (4, 5)
    prototypes.replace(torch.tensor([[1.0, 0, 0], [0, 2.0, 0]]))
    expected = torch.stack([embedding[:, 0], 2 * embedding[:, 1]], dim=1)
    torch.testing.assert_close(prototypes(embedding), expected)
    assert prototypes.vectors.shape == (5, 3)
    assert not prototypes.vectors[2:].any()


def test_a_checkpoint_says_how_many_live():
    pruned = Prototypes(5, 3, 1.0)
    pruned.replace(torch.ones(2, 3))
    fresh = torch.nn.Sequential(Prototypes(5, 3, 1.0))
    fresh.load_state_dict(torch.nn.Sequential(pruned).state_dict())
    assert fresh[0].num_active == 2
    assert copy.deepcopy(fresh)[0].num_active == 2


def test_logits_keep_their_precision_under_autocast():
    prototypes, embedding = Prototypes(5, 3, 1.0), torch.randn(4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        logits = prototypes(embedding.bfloat16())
    assert logits.dtype == torch.float32
    assert torch.equal(logits, prototypes(embedding.bfloat16().float()))
