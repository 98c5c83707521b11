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
