"""Winograd's way to a convolution gives its maps and gradients, for fewer multiplications."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from owdfa.training.winograd import by_transformed, convolved, suits, transformed

SHAPES = [(1, 2, 2, 2, 3), (3, 5, 4, 6, 2), (2, 3, 8, 2, 7)]  # images, in, height, width, out


def maps_and_weight(shape, dtype=torch.float64):
    torch.manual_seed(0)
    images, channels, height, width, out = shape
    maps = torch.randn(images, channels, height, width, dtype=dtype)
    return maps, torch.randn(out, channels, 3, 3, dtype=dtype)


def direct(images, weight):
    return functional.conv2d(images, weight, padding=1)


@pytest.mark.parametrize("shape", SHAPES)
def test_convolutions_are_those_of_a_loop(shape):
    images, weight = maps_and_weight(shape)
    found = convolved(images, weight)
    expected = torch.zeros_like(found)
    _, _, height, width = images.shape
    for row in range(height):
        for column in range(width):
            for i in range(3):
                for j in range(3):
                    y, x = row + i - 1, column + j - 1
                    if 0 <= y < height and 0 <= x < width:
                        expected[:, :, row, column] += images[:, :, y, x] @ weight[:, :, i, j].T
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_differences(shape):
    values = [each.requires_grad_() for each in maps_and_weight(shape)]
    assert torch.autograd.gradcheck(convolved, values)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_those_of_the_direct_way(layout):
    images, weight = maps_and_weight((4, 6, 8, 10, 5))
    images = images.to(memory_format=layout).requires_grad_()
    weight = weight.to(memory_format=layout).requires_grad_()
    slope = torch.randn(4, 5, 8, 10, dtype=torch.float64)
    expected = torch.autograd.grad(direct(images, weight), (images, weight), slope)
    found = torch.autograd.grad(convolved(images, weight), (images, weight), slope)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_filters_that_were_transformed_before_give_the_same():
    images, weight = maps_and_weight((4, 6, 8, 10, 5))
    bias = torch.randn(5, dtype=torch.float64)
    found = by_transformed(images, transformed(weight), bias)
    torch.testing.assert_close(found, functional.conv2d(images, weight, bias, padding=1))
    assert torch.equal(by_transformed(images, transformed(weight), None), convolved(images, weight))


def test_only_gradients_that_are_asked_for_are_made():
    images, weight = maps_and_weight((2, 3, 4, 4, 3))
    for asked in (images, weight):
        asked.requires_grad_()
        (found,) = torch.autograd.grad(convolved(images, weight).sum(), asked)
        (expected,) = torch.autograd.grad(direct(images, weight).sum(), asked)
        torch.testing.assert_close(found, expected)
        asked.requires_grad_(requires_grad=False)


def test_it_is_about_as_exact_as_the_direct_way():
    """In float32, against float64: the claim that makes it the default."""
    images, weight = maps_and_weight((4, 256, 16, 16, 256), torch.float32)
    images, weight = images.relu(), weight / 48  # a map after a ReLU; He's first weights
    slope = torch.randn(4, 256, 16, 16)

    def answers(way, dtype):
        inputs = [each.to(dtype).requires_grad_() for each in (images, weight)]
        maps = way(*inputs)
        return [maps.detach(), *torch.autograd.grad(maps, inputs, slope.to(dtype))]

    def errors(way):
        return [
            float((found - exact).norm() / exact.norm())
            for found, exact in zip(
                answers(way, torch.float32), answers(direct, torch.float64), strict=True
            )
        ]

    for ours, theirs in zip(errors(convolved), errors(direct), strict=True):
        assert ours < 1e-6
        assert ours < 3 * theirs


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, True),
        ({"bias": False}, True),
        ({"kernel_size": 1, "padding": 0}, False),
        ({"kernel_size": 5, "padding": 1}, False),
        ({"stride": 2}, False),
        ({"dilation": 2}, False),
        ({"padding": 0}, False),
        ({"padding": "same"}, False),
        ({"padding_mode": "reflect"}, False),
        ({"groups": 2}, False),
        ({"in_channels": 128}, False),
        ({"out_channels": 128}, False),
    ],
)
def test_layers_that_suit(changed, expected):
    given = {"in_channels": 256, "out_channels": 256, "kernel_size": 3, "padding": 1, **changed}
    with torch.device("meta"):
        assert suits(nn.Conv2d(**given)) == expected
