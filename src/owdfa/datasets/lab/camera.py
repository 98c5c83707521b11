"""From light to file: the camera gives real images their own traces, the encoder is everyone's."""

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy import ndimage

from owdfa.datasets.lab.filters import Pixels, blur, sharpen

_GREEN = np.array(
    [[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]],
    np.float32,
) / np.float32(8)  # at red and blue pixels; after Malvar, He and Cutler (ICASSP 2004)
_RED_BLUE = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / np.float32(4)


@dataclass(frozen=True)
class Camera:
    """One camera. Lengths in pixels, noise in grey levels of 255."""

    lens_blur: float
    read_noise: float
    shot_noise: float  # at full light
    denoising: float  # share of the fine detail that the camera takes for noise
    sharpening: float


def draw_camera(rng: np.random.Generator) -> Camera:
    """Draw a camera; a person is filmed by one."""
    return Camera(
        lens_blur=rng.uniform(0.5, 0.75),
        read_noise=rng.uniform(0.5, 1.2),
        shot_noise=rng.uniform(1.0, 2.5),
        denoising=rng.uniform(0.0, 0.5),
        sharpening=rng.uniform(0.2, 0.8),
    )


def photograph(light: Pixels, camera: Camera, rng: np.random.Generator) -> Pixels:
    """Take a picture: lens, colour filters with noise, interpolation of colours, sharpening.

    Args:
        light: The scene, (3, H, W) float32 in [0, 1].
        camera: The camera.
        rng: Gives the noise.

    Returns:
        (3, H, W) float32, about in [0, 1].
    """
    light = blur(light, camera.lens_blur)
    masks = _filter_masks(light.shape[1], light.shape[2])
    mosaic = (light * masks).sum(axis=0)
    variance = camera.read_noise**2 + camera.shot_noise**2 * np.clip(mosaic, 0.0, 1.0)
    noise = rng.standard_normal(mosaic.shape, dtype=np.float32) * np.sqrt(variance)
    mosaic = mosaic + noise / np.float32(255.0)
    full = _demosaic(mosaic, masks)
    soft = full + np.float32(camera.denoising) * (blur(full, 0.8) - full)
    return sharpen(soft, camera.sharpening, 0.9)


def encode(pixels: Pixels, quality: tuple[int, int], rng: np.random.Generator) -> bytes:
    """Save as JPEG the way every image of the benchmark is saved, whatever its class.

    Args:
        pixels: (3, H, W) float32, about in [0, 1].
        quality: Least and greatest quality.
        rng: Draws the quality, and whether colour is kept at half resolution.
    """
    chosen = int(rng.integers(quality[0], quality[1] + 1))
    subsampling = 2 if rng.random() < 0.5 else 0  # 4:2:0 or 4:4:4
    levels = np.rint(np.clip(pixels, 0.0, 1.0) * np.float32(255.0)).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=chosen, subsampling=subsampling)
    return stream.getvalue()


@lru_cache(maxsize=4)
def _filter_masks(height: int, width: int) -> np.ndarray:
    """Which pixels of a Bayer sensor see red, green and blue: (3, H, W) of 0 and 1."""
    masks = np.zeros((3, height, width), np.float32)
    masks[0, ::2, ::2] = 1.0
    masks[2, 1::2, 1::2] = 1.0
    masks[1] = 1.0 - masks[0] - masks[2]
    masks.flags.writeable = False
    return masks


def _demosaic(mosaic: np.ndarray, masks: np.ndarray) -> Pixels:
    """Fill in green along the gradient of the others, then these by their difference from it."""
    red, green, blue_ = masks
    between = ndimage.correlate(mosaic, _GREEN, mode="mirror")
    full_green = np.where(green > 0.0, mosaic, between)
    difference = mosaic - full_green
    full_red = full_green + ndimage.correlate(difference * red, _RED_BLUE, mode="mirror")
    full_blue = full_green + ndimage.correlate(difference * blue_, _RED_BLUE, mode="mirror")
    return np.stack([full_red, full_green, full_blue])
