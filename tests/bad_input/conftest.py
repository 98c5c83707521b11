"""What the tests of bad input start from: photographs, a prepared data set, a trained run."""

import numpy as np
import pytest
from PIL import Image

from command_line import done, make_photos
from tiny_data import DRIFT, TINY, make_data

SET = [
    part for setting in (*DRIFT, "epochs=1", "backbone.weights=none") for part in ("--set", setting)
]


@pytest.fixture
def photos(tmp_path):
    return make_photos(tmp_path)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def settings():
    """Options of a training run of a second."""
    return SET


@pytest.fixture(scope="session")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    done("train", "--split", data.split, "-o", folder, *SET)
    return folder


def make_noise(folder, classes=("a", "b", "c"), count=12, seed=0):
    """Write a folder of classes, each of some images of noise that nothing tells apart."""
    generator = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def run_options():
    """Options of ``owdfa run`` that make it take some seconds; two classes of three are known."""
    sets = [part for each in (*TINY, "epochs=1", "stages=[]") for part in ("--set", each)]
    return ["--known", "a,b", "--labelled", "0.7", *sets]


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory, run_options):
    """What ``owdfa run`` leaves; the images are in ``photos`` beside it."""
    folder = tmp_path_factory.mktemp("whole")
    photos = make_noise(folder / "photos")
    done("run", f"folder:{photos}", "-o", folder / "run", *run_options)
    return folder / "run"
