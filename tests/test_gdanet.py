import copy
import math

import pytest
import torch

from owdfa.errors import UserError
from owdfa.inference.predictor import Predictor
from owdfa.losses import supervised_contrastive
from owdfa.methods.gdanet import Denoiser, GDANet, GDANetSettings, fit_linear
from owdfa.records.training import UNLABELLED, Features, Progress
from owdfa.runs import checkpoint
from owdfa.runs.settings import load_settings
from owdfa.stages.train import train
from small_networks import backbone, batch, losses
from tiny_data import TINY, make_data

LABELS = [0, 1, -1, -1, 2, -1, 0, 1]


def method(**settings):
    torch.manual_seed(0)
    small = {"hidden_dim": 16, "projection_dim": 8, "denoiser_width": 4}
    return GDANet(backbone(), 3, None, GDANetSettings(**{**small, **settings}))


def gradients(part):
    return [each.grad for each in part.parameters() if each.requires_grad]


def test_objective_is_the_sum_of_contrast_and_classification():
    net, images = method(temperature=0.2), batch(LABELS)
    found = losses(net, images, Progress(0, 4))
    first, second = (net.features(view).embedding for view in images.views)
    scon = supervised_contrastive(net.head(first), net.head(second), images.labels, 0.2)
    terms = []
    for embedding in (first, second):
        for logits, label in zip(net.classifier(embedding).tolist(), LABELS, strict=True):
            if label >= 0:
                terms.append(math.log(sum(math.exp(z) for z in logits)) - logits[label])
    assert found.terms["scon"].item() == pytest.approx(scon.item())
    assert found.terms["ce"].item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)
    assert found.total.item() == pytest.approx(scon.item() + sum(terms) / len(terms), rel=1e-5)
    assert found.terms.keys() == {"scon", "ce"}


def test_the_classifier_teaches_the_extractor_nothing():
    net = method()
    losses(net, batch(LABELS), Progress(0, 4)).terms["ce"].backward()
    assert gradients(net.backbone) == [None] * 2
    assert gradients(net.head) == [None] * 6
    assert all(grad.any() for grad in gradients(net.classifier))


def test_the_classifier_is_fitted_to_all_labelled_images():
    net = method(weight_decay=1e-2)
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(3, 6, generator=generator)
    truth = torch.arange(3).repeat_interleave(20)
    rows = centres[truth] + 0.1 * torch.randn(60, 6, generator=generator)
    net.finish(torch.cat([rows, 100 * torch.ones(5, 6)]), torch.cat([truth, -torch.ones(5).long()]))
    assert (net.classify(Features(rows)).argmax(dim=1) == truth).all()
    before = net.classifier.weight.clone()
    net.finish(torch.ones(2, 6), torch.full((2,), UNLABELLED))  # nothing to fit
    assert torch.equal(net.classifier.weight, before)


def test_the_fit_is_at_the_minimum():
    """There the gradient, of a loop over images, is 0 in every weight and bias."""
    generator = torch.Generator().manual_seed(2)
    rows = torch.randn(12, 4, dtype=torch.float64, generator=generator)
    labels = torch.arange(12) % 3
    weight, bias = fit_linear(rows, labels, 3, 0.05)
    by_weight, by_bias = 0.05 * weight, torch.zeros_like(bias)
    for row, label in zip(rows, labels.tolist(), strict=True):
        powers = [math.exp(float(w @ row + b)) for w, b in zip(weight, bias, strict=True)]
        for k, power in enumerate(powers):
            wrong = power / sum(powers) - (k == label)
            by_weight[k] += wrong * row / 12
            by_bias[k] += wrong / 12
    torch.testing.assert_close(by_weight, torch.zeros_like(weight), atol=1e-5, rtol=0)
    torch.testing.assert_close(by_bias, torch.zeros_like(bias), atol=1e-5, rtol=0)


def test_the_second_form_sees_what_the_auto_encoder_leaves_over():
    net, images = method(residual=True).eval(), batch(LABELS).views[0]
    plain = method().eval()
    plain.load_state_dict(
        {name: each for name, each in net.state_dict().items() if not name.startswith("denoiser")}
    )
    found, left_over = net(images), (images - net.denoiser(images)).abs()
    assert torch.equal(found.embedding, plain(left_over).embedding)
    assert not torch.allclose(found.embedding, plain(images).embedding)


@pytest.mark.parametrize("real", [0, 2])
def test_the_auto_encoder_is_trained_on_real_images_alone_by_hand(real):
    net, images = method(residual=True, real_class=real, noise=0.0), batch(LABELS)
    found = losses(net, images, Progress(0, 4))
    terms = []
    for view in images.views:
        for image, label in zip(view, LABELS, strict=True):
            if label == real:
                made = net.denoiser(image[None])[0]
                differences = (image - made).flatten().tolist()
                terms.append(sum(d * d for d in differences) / len(differences))
    assert found.terms["rec"].item() == pytest.approx(sum(terms) / len(terms), rel=1e-4)
    found.terms["rec"].backward()
    assert all(grad.any() for grad in gradients(net.denoiser))
    assert gradients(net.backbone) == [None] * 2


def test_neither_contrast_nor_classification_changes_the_auto_encoder():
    net = method(residual=True)
    found = losses(net, batch(LABELS), Progress(0, 4))
    (found.terms["scon"] + found.terms["ce"]).backward()
    assert gradients(net.denoiser) == [None] * 8


def test_noise_is_taken_away_and_not_copied():
    net, images = method(residual=True, noise=1.0), batch(LABELS).views[0]
    torch.manual_seed(3)
    found = net.features(images).parts["error"]
    torch.manual_seed(3)
    noisy = images + torch.randn_like(images)
    expected = (images - net.denoiser(noisy)).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("size", [(4, 4), (13, 16), (17, 31)])
def test_images_of_any_size_are_reconstructed(size):
    images = torch.randn(2, 3, *size)
    assert Denoiser(4)(images).shape == images.shape


@pytest.mark.parametrize("labels", [LABELS, [-1] * 8, [1, 2] * 4])
def test_the_second_form_trains_with_any_labels(labels):
    net = method(residual=True)
    found = losses(net, batch(labels), Progress(0, 4))
    found.total.backward()
    assert found.total.isfinite()
    for name, each in net.named_parameters():
        assert (each.grad is not None) == each.requires_grad, name


def test_a_real_class_that_is_none_is_refused():
    with pytest.raises(UserError, match=r"no known class 3, they are 0 to 2; set the place"):
        method(residual=True, real_class=3)
    net = method(residual=True, real_class=1)
    with pytest.raises(UserError, match=r"no training image has class 1; set the place"):
        net.begin_training(torch.tensor([0, 2, -1]))
    net.begin_training(torch.tensor(LABELS))
    method(real_class=7).begin_training(torch.tensor([0]))  # the first form has no use for it


SECOND = [
    *TINY,
    "method.name=gdanet",
    "method.residual=true",
    "method.denoiser_width=4",
    "method.hidden_dim=16",
]


def test_a_resumed_run_of_the_second_form_is_the_same(tmp_path):
    data = make_data(tmp_path / "data")
    runs = [tmp_path / name for name in ("whole", "resumed")]
    train(data.split, runs[0], settings=load_settings(None, None, SECOND))
    stopped = copy.deepcopy(SECOND)

    class Stop(Exception):
        pass

    def stop(done, total, _note=""):
        if done > total // 2:
            raise Stop

    settings = load_settings(None, None, stopped)
    with pytest.raises(Stop):
        train(data.split, runs[1], settings=settings, on_progress=stop)
    train(data.split, runs[1], resume=True)
    one, other = (checkpoint.read_weights(each / "checkpoints" / "last") for each in runs)
    assert any(name.startswith("denoiser.") for name in one)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_second_form_predicts_by_its_graph(tmp_path):
    data = make_data(tmp_path / "data")
    settings = load_settings(None, None, [*SECOND, "epochs=1", "onnx=true"])
    run = train(data.split, tmp_path / "run", settings=settings)
    assert run.metadata.model_error is None  # the graph agrees with the network
    assert Predictor.open(run.folder).session.engine.startswith("onnxruntime ")
