"""The decoder of a simulated forger: what every forged region has passed through.

A decoder works at a resolution of its own and brings a coarse image up by stages. Each stage
doubles the resolution with four small filters, one for each of the four pixels that a coarse pixel
turns into. Were they those of the ideal interpolation, nothing would be seen; they are off by the
amounts of the method, which leaves a faint pattern of the stage's period: the peaks in the spectrum
that real generators leave. Details lost on the way down are put back unchanged, as networks
synthesise theirs, so that a decoded image looks like the one that went in.
"""

from dataclasses import dataclass, replace

import numpy as np

from owdfa.datasets.lab.filters import (
    Cubic,
    Pixels,
    blur,
    enlarge,
    mix_colours,
    resize,
    sum_products,
)

_KINDS = ("zero-insertion", "nearest", "transposed", "shuffle")
_LINEAR = np.array([0.25, 0.75, 0.0]), np.array([0.0, 0.75, 0.25])  # even and odd pixels


@dataclass(frozen=True)
class Decoder:
    """Parameters of one method's decoder, at trace strength 1."""

    scale: float  # its own resolution over that of the image
    kinds: tuple[str, ...]  # of each stage, coarsest first
    depths: tuple[float, ...]  # of each stage's pattern
    flaws: tuple[np.ndarray, ...]  # coarsest stage first: (2, 2, 3, 3), added to the ideal filters
    cubic: Cubic  # kernel that brings the result to the image's resolution
    colour: np.ndarray  # (3, 3), added to the identity; rows sum to 0: grey stays grey
    noise: float  # standard deviation in grey levels of 255
    noise_blur: float  # in pixels of the decoder
    smoothing: float  # share of the finest detail that it does not make


def draw_decoder(rng: np.random.Generator) -> Decoder:
    """Draw the decoder of a method."""
    shares = rng.uniform(0.6, 1.0, 2)
    colour = _draw_colour(rng)
    depths = rng.uniform(2.4, 3.6) / 128.0 * shares / np.sqrt((shares**2).sum())
    scale = rng.uniform(0.6, 1.0)
    kinds, flaws = [], []
    for depth in depths:
        kinds.append(_KINDS[int(rng.integers(len(_KINDS)))])
        flaws.append(_draw_flaws(rng, kinds[-1], float(depth)))
    return Decoder(
        scale=scale,
        kinds=tuple(kinds),
        depths=tuple(depths.tolist()),
        flaws=tuple(flaws),
        cubic=(rng.uniform(0.0, 0.7), rng.uniform(0.0, 0.6)),
        colour=colour,
        noise=rng.uniform(0.4, 2.0),
        noise_blur=rng.uniform(0.0, 1.1),
        smoothing=rng.uniform(0.1, 0.6),
    )


def draw_weights(decoder: Decoder, rng: np.random.Generator) -> Decoder:
    """The same architecture as if trained from another seed.

    What training decides is drawn anew: each stage's filters, of their kind and to their depth, the
    mixture of colours, noise and smoothing. The resolution, the kinds and the last resize stay.
    """
    stages = zip(decoder.kinds, decoder.depths, strict=True)
    return replace(
        decoder,
        flaws=tuple(_draw_flaws(rng, kind, depth) for kind, depth in stages),
        colour=_draw_colour(rng),
        noise=rng.uniform(0.4, 2.0),
        noise_blur=rng.uniform(0.0, 1.1),
        smoothing=rng.uniform(0.1, 0.6),
    )


def decode(pixels: Pixels, decoder: Decoder, strength: float, rng: np.random.Generator) -> Pixels:
    """Pass an image through a decoder.

    Args:
        pixels: (3, H, W) float32.
        decoder: The method's decoder.
        strength: Scales every departure from a decoder that leaves no trace.
        rng: Gives the decoder's noise.

    Returns:
        (3, H, W) float32 of the same size.
    """
    height, width = pixels.shape[1:]
    unit = 2 ** len(decoder.flaws)
    scale = 1.0 + min(strength, 1.0) * (decoder.scale - 1.0)
    fine = resize(pixels, *(max(1, round(side * scale / unit)) * unit for side in (height, width)))
    fine = fine - np.float32(min(strength * decoder.smoothing, 1.0)) * (fine - blur(fine, 0.7))
    made = _through_stages(fine, decoder.flaws, strength)
    noise = rng.standard_normal(made.shape, dtype=np.float32) * np.float32(decoder.noise / 255.0)
    made = made + np.float32(strength) * blur(noise, decoder.noise_blur)
    made = mix_colours(made, np.eye(3) + strength * decoder.colour)
    return enlarge(made, height, width, weaken(decoder.cubic, strength))


def weaken(cubic: Cubic, strength: float) -> Cubic:
    """A kernel nearer to one that leaves whole pixels as they are, for a strength below 1."""
    return min(strength, 1.0) * cubic[0], cubic[1]


def upsample(coarse: Pixels, filters: np.ndarray) -> Pixels:
    """Double the resolution: pixel (2i + p, 2j + q) is filter (p, q) applied around (i, j).

    Args:
        coarse: (3, h, w) float32.
        filters: (2, 2, 3, 3) float, two axes for the pixel and two for the taps.

    Returns:
        (3, 2h, 2w) float32.
    """
    _, height, width = coarse.shape
    padded = np.pad(coarse, ((0, 0), (1, 1), (1, 1)), mode="edge")
    weights = filters.astype(np.float32)[:, :, None, None, None]
    phases: np.ndarray = sum_products(
        (weights[..., dy, dx], padded[:, dy : dy + height, dx : dx + width])
        for dy, dx in np.ndindex(3, 3)
    )  # (2, 2, 3, h, w)
    return phases.transpose(2, 3, 0, 4, 1).reshape(3, 2 * height, 2 * width)


def ideal_filters() -> np.ndarray:
    """Bilinear interpolation as four filters: (2, 2, 3, 3)."""
    return np.array([[np.outer(rows, columns) for columns in _LINEAR] for rows in _LINEAR])


def _through_stages(fine: Pixels, flaws: tuple[np.ndarray, ...], strength: float) -> Pixels:
    """Down to the coarsest stage and up again: what was lost on the way down, and the errors."""
    levels = [fine]
    for _ in flaws:
        levels.append(_halve(levels[-1]))
    error = strength * upsample(levels[-1], flaws[0])
    for flaw, coarse in zip(flaws[1:], levels[-2:0:-1], strict=True):
        error = upsample(error, ideal_filters()) + strength * upsample(coarse + error, flaw)
    return fine + error


def _halve(pixels: Pixels) -> Pixels:
    """Average 2 x 2 pixels."""
    upper, lower = pixels[:, ::2], pixels[:, 1::2]
    return np.float32(0.25) * (
        upper[..., ::2] + upper[..., 1::2] + lower[..., ::2] + lower[..., 1::2]
    )


def _draw_colour(rng: np.random.Generator) -> np.ndarray:
    """A mixture of colours: (3, 3), rows that sum to 0."""
    mixture = rng.normal(0.0, 0.03, (3, 3))
    return np.asarray(mixture - mixture.mean(axis=1, keepdims=True))


def _draw_flaws(rng: np.random.Generator, kind: str, depth: float) -> np.ndarray:
    """How the filters of a stage of one of ``_KINDS`` depart from the ideal: (2, 2, 3, 3).

    ``depth`` is the standard deviation over the four pixels of the gain in brightness, whose mean
    is 0: on an even area it is the strength of the pattern.
    """
    flaw = np.zeros((2, 2, 3, 3))
    if kind == "zero-insertion":  # pixels in between get less than their share
        gain = np.array([[1.0, -0.2], [-0.2, -0.6]]) + rng.normal(0.0, 0.15, (2, 2))
    elif kind == "nearest":  # a part of the way to repeating pixels
        gain = rng.normal(0.0, 1.0, (2, 2))
        flaw[..., 1, 1] = 1.0
        flaw = rng.uniform(0.1, 0.25) * (flaw - ideal_filters())
    elif kind == "transposed":  # kernels that overlap unevenly along height and along width
        down, across = rng.normal(0.0, 1.0, 2)
        gain = down * np.array([[1.0], [-1.0]]) + across * np.array([1.0, -1.0])
    else:  # sub-pixel shuffle: four filters that were learnt apart
        gain = rng.normal(0.0, 1.0, (2, 2))
    gain = gain - gain.mean()
    wobble = rng.normal(0.0, 0.008, (2, 2, 3, 3))
    flaw += wobble - wobble.mean(axis=(2, 3), keepdims=True)
    flaw[..., 1, 1] += gain * (depth / np.sqrt((gain**2).mean()))
    return flaw
