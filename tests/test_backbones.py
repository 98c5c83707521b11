"""What every backbone library must do, and how weights from outside are read."""

import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from owdfa import catalog
from owdfa.backbones.base import build
from owdfa.errors import UserError
from owdfa.layers import FrequencyEnhancement
from owdfa.loading.views import PlainView
from owdfa.weights import load_weights, read_state

SMALL = {
    "timm": "test_resnet",
    "torchvision": "squeezenet1_1",
    "tiny": "trace8w16",
    "frozen": "residual",
}
NAME = "tiny/trace8w16"
libraries = pytest.mark.parametrize("library", catalog.names("backbones"))


def state():
    torch.manual_seed(1)
    return build(NAME).network.state_dict()


def save(path, content):
    torch.save(content, path)
    return path


@libraries
def test_library_lists_its_models_and_builds_one(library):
    module = catalog.load("backbones", library)
    names = module.names()
    assert names == list(dict.fromkeys(names))
    model = SMALL.get(library, names[0])
    assert model in names
    backbone = build(f"{library}/{model}")
    assert backbone.name == f"{library}/{model}"
    (maps,) = backbone.eval()(torch.zeros(2, 3, 64, 96))
    assert maps.shape[:2] == (2, backbone.channels)
    assert maps.dim() == 4
    assert len(backbone.mean) == len(backbone.std) == 3
    assert all(0 < value < 1 for value in (*backbone.mean, *backbone.std))


@libraries
def test_feature_maps_can_be_weighed_by_frequencies(library):
    model = SMALL.get(library, catalog.load("backbones", library).names()[0])
    images = torch.rand(2, 3, 64, 64)
    (maps,) = build(f"{library}/{model}").eval()(images)
    weighed = FrequencyEnhancement()(images, maps)
    assert weighed.shape == maps.shape
    assert weighed.isfinite().all()
    assert not torch.equal(weighed, maps)


@libraries
def test_maps_of_earlier_stages_are_those_that_the_network_computes(library):
    backbone = build(f"{library}/{SMALL[library]}").eval()
    images = torch.rand(2, 3, 64, 64)
    num = len(backbone.stage_channels)
    with torch.no_grad():
        (last,) = backbone(images)
        maps = backbone(images, range(num))
        picked = backbone(images, (-1, 0))
    assert torch.equal(maps[-1], last)
    assert [each.shape[1] for each in maps] == list(backbone.stage_channels)
    sides = [each.shape[-1] for each in maps]
    assert sides == sorted(sides, reverse=True)
    assert torch.equal(picked[0], last)
    assert torch.equal(picked[1], maps[0])
    assert not backbone._recorder._found  # nothing is kept


@libraries
def test_library_names_the_nearest_model(library):
    model = SMALL.get(library, catalog.load("backbones", library).names()[0])
    with pytest.raises(UserError, match=f"did you mean '{model}'"):
        build(f"{library}/{model}x")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet50", "write it as library/model"),
        ("tim/resnet50", "did you mean 'timm'"),
        ("timm/resnet18.no_such_tag", "no_such_tag"),
        ("timm/test_vit", "gives no feature map"),
        ("timm/swin_tiny_patch4_window7_224", "does not take images of any size"),
        ("tiny/zzz", "owdfa backbones"),
    ],
)
def test_backbones_that_cannot_be_had(name, message):
    with pytest.raises(UserError, match=message) as error:
        build(name)
    assert "\n" not in str(error.value)


def test_training_mode_is_kept_and_statistics_are_untouched():
    network = build("timm/test_resnet").network
    assert network.training
    assert not network.state_dict()["bn1.num_batches_tracked"]


def test_tiny_networks_end_at_an_eighth_of_the_resolution():
    backbone = build("tiny/trace14w16")
    (maps,) = backbone(torch.randn(2, 3, 40, 24))
    assert maps.shape == (2, backbone.channels, 5, 3)


def test_residuals_are_those_of_loops_by_hand():
    residuals = build("tiny/trace8w16").network.residuals
    image = 0.02 * torch.randn(3, 6, 7, dtype=torch.float64)
    shown = residuals.double()(image[None])[0]
    torch.testing.assert_close(shown[:3], image)
    at = {(dy, dx): image[:, 2 + dy, 3 + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)}
    side = at[0, -1] + at[0, 1], at[-1, 0] + at[1, 0]
    corners = at[-1, -1] + at[-1, 1] + at[1, -1] + at[1, 1]
    by_hand = torch.stack(
        [
            side[0] / 2 - at[0, 0],
            side[1] / 2 - at[0, 0],
            (corners - 2 * (side[0] + side[1]) + 4 * at[0, 0]) / 4,
            (4 * at[0, 0] - side[0] - side[1]) / 4,
        ],
        dim=1,
    )
    torch.testing.assert_close(shown[3:, 2, 3], (10 * by_hand).clamp(-3, 3).flatten())


def test_residuals_do_not_see_what_is_even_and_are_cut_off_at_edges():
    residuals = build("tiny/trace8w16").network.residuals
    even = torch.full((1, 3, 8, 8), 0.7)
    assert residuals(even)[:, 3:].abs().max() < 1e-5
    edge = torch.cat([even[..., :4], -even[..., 4:]], dim=3)
    assert residuals(edge)[:, 3:].abs().max() == 3


@pytest.mark.parametrize("training", [True, False])
def test_of_the_image_itself_nothing_is_cut_off(training):
    backbone = build("tiny/trace8w16")
    levels = np.random.default_rng(0).choice([0, 255], (1, 8, 8, 3)).astype(np.uint8)
    image = PlainView(8, backbone.mean, backbone.std)(levels)
    assert image.max() > 2.6
    assert image.min() < -2.1
    shown = backbone.network.residuals.train(training)(image)
    assert torch.equal(shown[:, :3], image)


@pytest.mark.parametrize(
    "prefix", ["", "module.", "model.", "encoder.encoder.", "backbone.network."]
)
def test_weights_of_a_file(tmp_path, prefix):
    tensors = {prefix + name: value for name, value in state().items()}
    tensors[f"{prefix}fc.weight"] = torch.zeros(10, 256)  # a classifier is left aside
    if prefix:
        tensors["neck.weight"] = torch.zeros(3)
    save_file(tensors, tmp_path / "w.safetensors")
    for path in (
        tmp_path / "w.safetensors",
        save(tmp_path / "w.pt", tensors),
        save(tmp_path / "w.ckpt", {"epoch": 3, "state_dict": tensors}),
    ):
        found = build(NAME, str(path)).network.state_dict()
        assert all(torch.equal(found[name], value) for name, value in state().items())


def test_weights_without_batch_counts(tmp_path):
    kept = {n: v for n, v in state().items() if not n.endswith("num_batches_tracked")}
    network = build(NAME, str(save(tmp_path / "old.pt", kept))).network
    assert torch.equal(network.state_dict()["stem.0.weight"], kept["stem.0.weight"])


class Dangerous:
    def __reduce__(self):
        return os.system, ("touch run-by-a-pickle",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": state(), "hook": Dangerous()}, "could run any program"),
        ({}, "holds no weights"),
        ([torch.zeros(2)], "holds no weights"),
        ({"epoch": 3}, "holds no weights"),
    ],
    ids=["pickle", "empty", "list", "numbers"],
)
def test_files_that_are_refused(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path / "w.pt", content)
    with pytest.raises(UserError, match=message) as error:
        read_state(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run-by-a-pickle").exists()


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04 cut off"])
def test_damaged_files(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: (cannot be read|is damaged)") as error:
        read_state(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_truncated_files(tmp_path, suffix, share):
    path = tmp_path / f"w{suffix}"
    save_file(state(), path) if suffix == ".safetensors" else save(path, state())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match=path.name):
        read_state(path)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        build(NAME, str(tmp_path / "none.pt"))


def test_weights_of_another_network(tmp_path):
    path = save(tmp_path / "w.pt", state())
    for other in ("tiny/trace8w32", "tiny/trace14w16"):
        with pytest.raises(UserError, match=r"w\.pt: belongs to another network"):
            load_weights(build(other).network, path)


def test_tiny_networks_have_no_hub():
    with pytest.raises(UserError, match="has no weights on a hub"):
        build(NAME, "hub")


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("timm/test_resnet", "timm.create_model"),
        ("torchvision/squeezenet1_1", "torchvision.models.get_model"),
    ],
)
def test_hub_out_of_reach(monkeypatch, name, function):
    monkeypatch.setattr("owdfa.backbones.timm._within_reach", lambda address: True)

    def offline(model, **options):
        raise OSError("Name or service not known\nRetry 5/5")

    monkeypatch.setattr(function, offline)
    with pytest.raises(UserError, match="--weights FILE") as error:
        build(name, "hub")
    assert name in str(error.value)
    assert "\n" not in str(error.value)
