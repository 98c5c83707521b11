"""The colours of the embedding map: told apart by the colour-blind, in both themes."""

import re
from importlib.resources import files

import numpy as np
import pytest

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
VISION = {
    "all colours": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_CONES = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
TO_OKLAB = [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
]
LUMINANCE = [0.2126, 0.7152, 0.0722]


def linear(colours):
    """Hexadecimal colours to linear RGB (N, 3)."""
    values = np.array([[int(each[i : i + 2], 16) / 255 for i in (1, 3, 5)] for each in colours])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def oklab(rgb):
    return np.cbrt(np.clip(rgb, 0, None) @ np.transpose(TO_CONES)) @ np.transpose(TO_OKLAB)


def themes():
    """The nine colours of map.css, light and dark, with the --sheet that the pages have."""
    text = (files("owdfa") / "serve" / "static" / "map.css").read_text("utf-8")
    found = re.findall(r"--map-(?:\d|rest): (#\w{6})", text)
    assert len(found) == 18
    return {"light": (found[:9], "#ffffff"), "dark": (found[9:], "#1b1e23")}


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_two_colours_look_alike(theme, vision):
    colours, _ = themes()[theme]
    seen = oklab(np.clip(linear(colours) @ np.transpose(VISION[vision]), 0, 1))
    distances = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    assert distances[~np.eye(9, dtype=bool)].min() > 0.08  # of Okabe and Ito's eight: 0.076


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_groups_stand_out_from_the_background(theme):
    colours, sheet = themes()[theme]
    bright, behind = linear(colours[:8]) @ LUMINANCE + 0.05, linear([sheet]) @ LUMINANCE + 0.05
    assert np.maximum(bright / behind, behind / bright).min() >= 3
