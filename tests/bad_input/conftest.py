"""What the tests of bad input start from: photographs, a prepared data set, a trained run."""

import pytest

from command_line import done, make_photos
from tiny_data import DRIFT, make_data

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
