"""A whole run of GCD: centres are fitted after the last epoch, once, and predict."""

import pytest
import torch
from torch.nn.functional import normalize

from owdfa.errors import UserError
from owdfa.methods.gcd import GCD
from owdfa.records.predictions import Predictions
from owdfa.runs import checkpoint
from owdfa.runs.settings import load_settings
from owdfa.stages.predict import predict
from owdfa.stages.train import train
from tiny_data import TINY, make_data

SMALL = [
    "method.hidden_dim=16",
    "method.bottleneck_dim=8",
    "method.projection_dim=8",
    "method.kmeans_starts=3",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


def settings(classes=4):
    return load_settings("gcd", None, [*TINY, *SMALL, f"classes={classes}"])


def weights(run):
    return checkpoint.read_weights(run.checkpoint)


def test_centres_of_all_classes_are_fitted_and_predict(data, tmp_path):
    run = train(data.split, tmp_path / "run", settings=settings())
    centres = weights(run)["centres"]
    assert centres.shape[0] == 4
    assert centres.any(dim=1).all()
    predict(run.folder, "split:test", tmp_path / "made.parquet")
    made = Predictions.read(tmp_path / "made.parquet")
    unit = normalize(torch.tensor(made.table["embedding"].to_pylist()))
    nearest = torch.cdist(unit, centres).argmin(dim=1)
    assert made.table["index"].to_pylist() == nearest.tolist()


def test_a_run_stopped_before_the_fit_is_resumed_to_the_same_centres(data, tmp_path, monkeypatch):
    unbroken = weights(train(data.split, tmp_path / "unbroken", settings=settings()))
    with monkeypatch.context() as patched:
        patched.setattr(GCD, "finish", stop)
        with pytest.raises(KeyboardInterrupt):
            train(data.split, tmp_path / "run", settings=settings())
    resumed = weights(train(data.split, tmp_path / "run", settings=settings(), resume=True))
    assert all(torch.equal(unbroken[name], resumed[name]) for name in unbroken)


def stop(*_):
    raise KeyboardInterrupt


def test_the_number_of_classes_must_be_given_and_cover_the_known(data, tmp_path):
    for classes, message in (('"auto"', "needs the number of classes"), (1, "fewer than the 2")):
        with pytest.raises(UserError, match=message):
            train(data.split, tmp_path / "run", settings=settings(classes))
        assert not (tmp_path / "run").exists()
