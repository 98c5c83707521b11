"""What holds for all tests: no time limits, one thread a process; and the data that they share."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; subprocesses inherit it

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A small data set, prepared and split; no test writes to it."""
    from tiny_data import make_data

    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def run_options():
    """Options of ``owdfa run`` that make it take some seconds; two classes of three are known."""
    from tiny_data import TINY

    sets = [part for each in (*TINY, "epochs=1", "onnx=true") for part in ("--set", each)]
    return ["--known", "a,b", "--labelled", "0.7", *sets]


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory, run_options):
    """What ``owdfa run`` leaves; the images are in ``photos`` beside it."""
    from command_line import done, make_noise

    folder = tmp_path_factory.mktemp("whole")
    photos = make_noise(folder / "photos")
    done("run", f"folder:{photos}", "-o", folder / "run", *run_options)
    return folder / "run"


@pytest.fixture(scope="session")
def served_run(tmp_path_factory):
    """A calibrated run, to be served; no test writes to it."""
    from small_server import make_run

    return make_run(tmp_path_factory.mktemp("served"))
