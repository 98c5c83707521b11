"""Frozen features: what they are, that they are computed once, and the method on them."""

import numpy as np
import pytest
import torch

from command_line import done, make_noise, refused
from owdfa import pipeline
from owdfa.backbones.base import build
from owdfa.backbones.frozen import Statistics
from owdfa.errors import UserError
from owdfa.images.features import StoredFeatures
from owdfa.images.store import Store
from owdfa.inference import frozen_features
from owdfa.inference.inputs import find_images
from owdfa.inference.predictor import Predictor
from owdfa.pipeline import choose_settings
from owdfa.records.predictions import Predictions
from owdfa.runs import checkpoint
from owdfa.runs.settings import load_settings
from owdfa.stages.predict import predict
from owdfa.stages.train import train
from tiny_data import SIDE, TINY, make_data

SMALL = [
    "device=cpu",
    "backbone.name=frozen/residual",
    "backbone.weights=none",
    f"data.views.size={SIDE}",
    "method.dim=4",
    "onnx=false",
]


def settings(*more, classes="4"):
    return load_settings("frozen", None, [*SMALL, f"classes={classes}", *more])


@pytest.fixture
def own(tmp_path):
    """A data set that a test may add features to."""
    return make_data(tmp_path / "data")


@pytest.fixture
def computed(monkeypatch):
    """How many images' features were computed."""
    seen, compute = [], frozen_features._features

    def counted(backbone, images):
        seen.extend(range(len(images)))
        return compute(backbone, images)

    monkeypatch.setattr(frozen_features, "_features", counted)
    return seen


def spectrum_by_loops(channel):
    """Mean power (32, 17) over windows that overlap by half, by NumPy's transform."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(32) / 32)
    found = []
    for top in range(0, channel.shape[0] - 31, 16):
        for left in range(0, channel.shape[1] - 31, 16):
            window = channel[top : top + 32, left : left + 32] * hann[:, None] * hann
            found.append(np.abs(np.fft.rfft2(window)) ** 2)
    return np.mean(found, axis=0)


def test_the_residual_s_statistics_are_those_of_loops_by_hand():
    levels = np.random.default_rng(0).integers(0, 256, (3, 70, 52)).astype(np.float64)
    backbone = build("frozen/residual")
    images = torch.from_numpy(levels).float()[None] / 255 - torch.tensor(backbone.mean).view(
        3, 1, 1
    )
    images = images / torch.tensor(backbone.std).view(3, 1, 1)
    found = backbone(images)[0].flatten().numpy()
    second = np.array([1, -2, 1])
    kernel = np.outer(second, second) / 4
    residual = sum(
        kernel[dy, dx] * levels[:, dy : dy + 68, dx : dx + 50] for dy in range(3) for dx in range(3)
    )
    red, green, blue = residual
    mixed = [residual.mean(axis=0), red - green, blue - green]
    spectra = np.concatenate([np.log(spectrum_by_loops(each) + 1e-3).ravel() for each in mixed])
    np.testing.assert_allclose(found[: 3 * 32 * 17], spectra, rtol=1e-3, atol=1e-3)
    flat = residual.reshape(3, -1)
    correlations = [np.corrcoef(flat)[pair] for pair in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(found[-3:], correlations, atol=1e-3)
    np.testing.assert_allclose(found[-12:-9], np.log(flat.std(axis=1)), atol=1e-3)


def test_a_network_adds_mean_and_deviation_of_every_map_but_the_last():
    torch.manual_seed(0)
    backbone, images = build("frozen/tiny/trace8w16"), torch.rand(2, 3, 40, 40)
    alone = build("frozen/residual")
    maps = backbone.network.inner(images, range(3))
    expected = [
        part for each in maps for part in (each.mean((2, 3)), each.std((2, 3), correction=0))
    ]
    found = backbone(images)[0].flatten(1)[:, alone.channels :]
    torch.testing.assert_close(found, torch.cat(expected, dim=1))


def test_it_stays_as_it_is_in_training():
    backbone = build("frozen/tiny/trace8w16").train()
    assert not any(each.training for each in backbone.network.modules())
    assert not any(each.requires_grad for each in backbone.parameters())


def test_features_given_in_place_of_images_are_given_back():
    backbone = build("frozen/residual")
    features = torch.rand(2, backbone.channels, 1, 1)
    assert backbone(features)[0] is features


def test_the_residual_has_no_weights():
    with pytest.raises(UserError, match="leave --weights out"):
        build("frozen/residual", "hub")


def test_features_are_kept_by_content_and_added_to(tmp_path):
    names = [f"{i:064d}" for i in range(5)]
    values = np.arange(10, dtype=np.float32).reshape(5, 2)
    empty = StoredFeatures.open(tmp_path, "d")
    assert empty.missing([names[0], names[1], names[0]]).tolist() == [0, 1]
    empty.add(names[:2], values[:2])
    StoredFeatures.open(tmp_path, "d").add(names[2:], values[2:])
    kept = StoredFeatures.open(tmp_path, "d")
    assert not len(kept.missing(names))
    assert kept.read([names[4], names[0], names[4]]).tolist() == values[[4, 0, 4]].tolist()
    (kept.folder / "00001.npy").write_bytes(b"no features")
    with pytest.raises(UserError, match=r"00001.npy: is damaged; delete the folder"):
        StoredFeatures.open(tmp_path, "d")


def test_a_run_computes_features_once_and_another_run_none(own, tmp_path, computed):
    train(own.split, tmp_path / "one", settings=settings())
    num = Store.open(own.store).table.num_rows
    assert len(computed) == num
    predict(tmp_path / "one", "split:test", tmp_path / "p.parquet")
    train(own.split, tmp_path / "two", settings=settings(classes="3"))
    assert len(computed) == num


def test_kept_features_predict_as_pixels_do(own, tmp_path):
    run = train(own.split, tmp_path / "run", settings=settings())
    predictor = Predictor.open(run.folder)
    inputs = find_images(predictor, "split:test")
    crops = inputs.read(range(len(inputs.ids)))
    assert crops.features is not None
    by_features = predictor.by_features().predict_batch(crops.features)
    by_pixels = predictor.predict_batch(crops.pixels)
    np.testing.assert_allclose(by_features.probabilities, by_pixels.probabilities, atol=1e-5)
    predict(run.folder, "split:test", tmp_path / "p.parquet")
    made = Predictions.read(tmp_path / "p.parquet").table
    assert made["index"].to_pylist() == by_pixels.probabilities.argmax(axis=1).tolist()
    for file in (own.store / "features").rglob("*.npy"):
        file.unlink()
    predict(run.folder, "split:test", tmp_path / "q.parquet")
    assert Predictions.read(tmp_path / "q.parquet").table["index"].equals(made["index"])


def test_labelled_images_are_in_their_class_and_a_new_one_goes_to_the_nearest_centre(own, tmp_path):
    run = train(own.split, tmp_path / "run", settings=settings())
    predict(run.folder, "split:labelled", tmp_path / "p.parquet")
    made = Predictions.read(tmp_path / "p.parquet").table
    classes = [each.split("/")[0] for each in made["id"].to_pylist()]
    assert made["prediction"].to_pylist() == classes
    embedding = torch.tensor(made["embedding"].to_pylist())
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(len(embedding)))
    centres = checkpoint.read_weights(run.checkpoint)["centres"]
    assert torch.cdist(embedding, centres).argmin(dim=1).tolist() == made["index"].to_pylist()


def test_the_number_of_classes_is_estimated_in_the_space_of_known_classes(own, tmp_path):
    run = train(own.split, tmp_path / "run", settings=settings(classes="auto:gcd"))
    assert run.estimate is not None
    assert run.num_active == run.estimate.estimate.num_classes >= 2


def test_a_trained_method_works_on_frozen_features(own, tmp_path):
    chosen = [*SMALL[:4], "method.name=gcd", "onnx=false", "epochs=1", "data.batch_size=8"]
    chosen += ["stages=[]", "classes=4", "method.hidden_dim=8", "method.projection_dim=8"]
    run = train(own.split, tmp_path / "run", settings=load_settings("gcd", None, chosen))
    assert run.metadata.features is not None


def test_it_is_fitted_to_the_embedding_of_a_trained_network(data, tmp_path):
    earlier = train(
        data.split,
        tmp_path / "earlier",
        settings=load_settings("supervised", None, [*TINY, "epochs=1"]),
    )
    chosen = settings("backbone.name=tiny/trace8w16", f"backbone.weights={earlier.folder}")
    run = train(data.split, tmp_path / "run", settings=chosen)
    assert run.metadata.features is None
    one, other = (checkpoint.read_weights(each.checkpoint) for each in (earlier, run))
    names = [name for name in other if name.startswith("backbone.")]
    assert names
    assert all(torch.equal(one[name], other[name]) for name in names)
    assert other["matrix"].any()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("epochs=2", "is fitted and not trained; set epochs=0"),
        ("backbone.name=frozen/tiny/trace8w16", "would be random; name some with --weights"),
        ("data.views.size=24", "holds crops of 16 px.*--set data.views.size=16"),
    ],
)
def test_what_cannot_be_fitted_is_refused(own, tmp_path, more, message):
    with pytest.raises(UserError, match=message):
        train(own.split, tmp_path / "run", settings=settings(more))
    assert not (tmp_path / "run" / "run.json").exists()


def test_without_a_gpu_own_images_are_given_to_frozen_features(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "uses_gpu", lambda _: False)

    def chosen(source, recipe=None, overrides=(), **explicit):
        settings, note = choose_settings(source, recipe, None, overrides, explicit)
        return settings.method.name, settings.data.views.size, note

    assert chosen("folder:photos", classes=8)[:2] == ("plda", 192)
    assert "no GPU" in chosen("csv:list.csv")[2]
    for named in (
        chosen("lab:"),
        chosen("folder:photos", "tiny"),
        chosen("folder:photos", overrides=("epochs=3",)),
        chosen("folder:photos", method={"name": "cal"}),
    ):
        assert named == ("cal", 64, None)
    assert chosen("lab:", method={"name": "frozen"}) == ("frozen", 192, None)
    monkeypatch.setattr(pipeline, "uses_gpu", lambda _: True)
    assert chosen("folder:photos") == ("cal", 64, None)


@pytest.mark.slow
def test_a_whole_run_on_own_images_ends_in_a_report(tmp_path):
    photos = make_noise(tmp_path / "photos")
    said = done(
        *("run", f"folder:{photos}", "-o", tmp_path / "run", "--known", "a,b"),
        *("--labelled", "0.7", "--method", "frozen", "--classes", "3"),
        *(part for each in SMALL[1:3] for part in ("--set", each)),
    )
    assert "report:" in said
    assert Store.open(tmp_path / "run" / "store").basis.fit == "native"
    done("predict", tmp_path / "run", photos, "-o", tmp_path / "p.parquet")
    done("export", tmp_path / "run", "-o", tmp_path / "model.onnx")
    done("predict", tmp_path / "model.onnx", photos, "-o", tmp_path / "q.parquet")
    one, other = (Predictions.read(tmp_path / f"{name}.parquet").table for name in "pq")
    assert one["index"].equals(other["index"])


def test_a_way_to_fit_that_does_not_exist_is_refused(own, tmp_path):
    line = refused("data", "prepare", own.manifest, "--fit", "nativ", "-o", tmp_path / "store")
    assert "take one of resize, native" in line
    assert isinstance(build("frozen/residual").network, Statistics)
