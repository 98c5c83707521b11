"""Miniature copies of OWDFA-40 and OW-DFA, of a few images a class."""

from pathlib import Path

from owdfa.datasets import owdfa, owdfa40
from owdfa_sources import Painter, make_sources

SMALLEST = [  # settings under which a row of them takes a second
    "epochs=1",
    "device=cpu",
    "backbone.name=tiny/trace8w16",
    "backbone.weights=none",
    "data.batch_size=8",
    "data.images_per_epoch=8",
    "data.views.size=32",
    "data.views.crop_size=36",
    "onnx=false",
]


def make_owdfa40(folder: Path) -> str:
    """Five images a folder; returns the source."""
    paint = Painter()
    for name in owdfa40.folders():
        paint(*(folder / name / f"v{video}_0.png" for video in range(5)))
    return f"owdfa40:{folder}"


def make_owdfa(folder: Path) -> str:
    """Built from miniature copies of the data sets that it is made of; returns the source."""
    return f"owdfa:{owdfa.build(folder / 'built', make_sources(folder)).file}"


MAKERS = {"owdfa40": make_owdfa40, "owdfa": make_owdfa}
