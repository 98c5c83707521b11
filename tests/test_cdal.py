import math

import pytest
import torch
from torch.nn.functional import conv2d, interpolate, pad

from owdfa.errors import UserError
from owdfa.methods import cdal as cdal_module
from owdfa.methods.base import build_method
from owdfa.methods.cdal import (
    CDAL,
    CDALSettings,
    ConditionalConv2d,
    attention_matrix,
    augment,
    matching_loss,
    sample_map,
)
from owdfa.records.training import Progress
from owdfa.runs.settings import load_settings
from small_networks import backbone, batch, losses

LABELS = [0, 1, -1, -1, -1, 1, -1, 0]
CLASSES = 5


def method(**settings):
    torch.manual_seed(0)
    settings = {"num_maps": 6, **settings}
    return CDAL(backbone(), 2, CLASSES, CDALSettings(**settings))


def images(labels=LABELS):
    return batch(labels, size=32, num_views=1)


@pytest.mark.parametrize("base", ["cpl", "mpsl"])
def test_its_objective_is_that_of_the_base_and_its_own_terms(base):
    wrapped = method(base={"name": base, "dropout": 0.0}, aux_weight=0.3, match_weight=0.4)
    alone = build_method(base, wrapped.backbone, 2, CLASSES, wrapped.settings.base)
    alone.load_state_dict(wrapped.base.state_dict())
    torch.manual_seed(1)
    expected = losses(alone, images(), Progress(0, 4))
    torch.manual_seed(1)
    found = losses(wrapped, images(), Progress(0, 4))
    for name, term in expected.terms.items():
        torch.testing.assert_close(found.terms[name], term)
    own = 0.3 * found.terms["aux"] + 0.4 * found.terms["match"]
    torch.testing.assert_close(found.total, expected.total + own)


def test_it_predicts_as_its_base_does():
    wrapped = method().eval()
    alone = build_method("cpl", wrapped.backbone, 2, CLASSES, wrapped.settings.base)
    alone.load_state_dict(wrapped.base.state_dict())
    view = images().views[0]
    with torch.no_grad():
        torch.testing.assert_close(wrapped(view), alone.eval()(view))


def test_the_backbone_is_in_its_state_once():
    names = [name for name in method().state_dict() if "backbone." in name]
    assert names
    assert all(name.startswith("base.backbone.") for name in names)


@pytest.mark.parametrize("name", ["cal", "supervised", "cdal"])
def test_what_it_cannot_wrap_is_refused(name):
    with pytest.raises(UserError, match=rf"method cdal: cannot wrap '{name}'.* set method\.base"):
        load_settings(None, None, ["method.name=cdal", f"method.base.name={name}"])


def test_the_base_has_settings_of_its_own():
    settings = load_settings(None, None, ["method.name=cdal", "method.base.glv_weight=0.25"])
    assert settings.method.base.glv_weight == 0.25
    assert settings.method.base.name == "cpl"
    settings = load_settings(None, None, ["method.name=cdal", "method.base.name=mpsl"])
    assert settings.method.base.mpv_weight == 0.5
    with pytest.raises(UserError, match=r"method\.base: no setting 'glv_wieght'.*'glv_weight'"):
        load_settings(None, None, ["method.name=cdal", "method.base.glv_wieght=1"])
    with pytest.raises(UserError, match=r"no method named 'cpll'; did you mean 'cpl'"):
        load_settings(None, None, ["method.name=cdal", "method.base.name=cpll"])


def test_settings_survive_their_file(tmp_path):
    chosen = ["method.name=cdal", "method.base.name=mpsl", "method.base.cells=[3]"]
    settings = load_settings(None, None, chosen)
    path = tmp_path / "my.toml"
    path.write_text(settings.to_toml())
    again = load_settings("none", path)
    assert again.model_dump() == settings.model_dump()


@pytest.mark.parametrize(("size", "groups", "after"), [(1, 1, 5), (3, 4, 4), (3, 1, 3)])
def test_a_conditional_convolution_mixes_kernels_by_image(size, groups, after):
    layer = ConditionalConv2d(4, after, size=size, groups=groups, num_experts=3).double()
    maps = torch.randn(3, 4, 6, 5, dtype=torch.float64)
    found = layer(maps)
    for image, output in zip(maps, found, strict=True):
        weights = layer.routing(image.mean(dim=(1, 2))).sigmoid()
        kernel = sum(w * k for w, k in zip(weights, layer.kernels, strict=True)).view(layer.shape)
        expected = conv2d(image[None], kernel, padding=size // 2, groups=groups)[0]
        torch.testing.assert_close(output, expected)


def test_an_attention_matrix_by_hand():
    attention, features = torch.rand(2, 3, 4, 5).double(), torch.randn(2, 6, 4, 5).double()
    found = attention_matrix(attention, features)
    for b in range(2):
        for m in range(3):
            for c in range(6):
                expected = (attention[b, m] * features[b, c]).mean()
                torch.testing.assert_close(found[b, m, c], expected)


def test_matching_by_hand():
    first, second = torch.randn(2, 3, 4).double(), torch.randn(2, 3, 4).double()
    index = torch.tensor([1, 0])
    terms = []
    for b in range(2):
        for m in range(3):
            one, other = first[b, m] / first[b, m].norm(), second[b, m] / second[b, m].norm()
            terms.append(0.0 if m == index[b] else float((one - other).norm()))
    assert matching_loss(first, second, index).item() == pytest.approx(sum(terms) / 6)


def test_maps_are_drawn_by_the_root_of_their_sum():
    attention = torch.tensor([0.0, 1.0, 9.0])[:, None, None].expand(20_000, 3, 2, 2)
    share = sample_map(attention).bincount(minlength=3) / 20_000
    assert share.tolist() == pytest.approx([0, 0.25, 0.75], abs=0.02)


@pytest.mark.parametrize("size", [(24, 20), (6, 4)])
def test_augmentation_by_hand(size, monkeypatch):
    monkeypatch.setattr(cdal_module, "_NOISE", 0.0)
    features = torch.randn(2, 3, *size, dtype=torch.float64)
    first, second = torch.rand(2, 2, 1, *size, dtype=torch.float64)
    small = interpolate(features, scale_factor=0.5, mode="bilinear", align_corners=True)
    reach = [min(5, side - 1) for side in small.shape[2:]]
    one, other = (
        torch.tensor([math.exp(-(i**2) / 98) for i in range(-r, r + 1)]).double() for r in reach
    )
    kernel = (one[:, None] * other) / (one.sum() * other.sum())
    mirrored = pad(small, (reach[1], reach[1], reach[0], reach[0]), mode="reflect")
    small = conv2d(mirrored, kernel.expand(3, 1, -1, -1), groups=3)
    blurred = interpolate(small, size=size, mode="bilinear", align_corners=True)
    expected = features * first + blurred * second
    torch.testing.assert_close(augment(features, first, second), expected, rtol=1e-6, atol=1e-6)


def test_noise_is_added_to_the_blurred_map_alone():
    features, ones = torch.zeros(4, 8, 16, 16), torch.ones(4, 1, 16, 16)
    assert not augment(features, ones, 0 * ones).any()
    assert 0.03 < augment(features, 0 * ones, ones).std().item() < 0.1
