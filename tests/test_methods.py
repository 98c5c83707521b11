"""What every method must do: a file put into ``owdfa/methods/`` is tested here by its name.

So is one from outside, with other declarations: one view, and a number of classes that it needs.
"""

import copy

import pyarrow as pa
import pytest
import torch

from owdfa import catalog
from owdfa.errors import UserError
from owdfa.methods.base import Method, build_method, method_type
from owdfa.records.split import SCHEMA, Basis, Split
from owdfa.records.training import Progress
from owdfa.training.optimize import to_channels_last
from owdfa.training.optimizer import move_rows
from small_networks import backbone, losses
from small_networks import batch as any_batch

LABELS = [0, 1, -1, -1, 2, -1, -1, 1]
NUM_KNOWN = 3
pytestmark = pytest.mark.parametrize("name", [*catalog.names("methods"), "outside.centres"])


def build(name, num_classes=None, seed=0):
    """The method as its own declarations say that it is built."""
    torch.manual_seed(seed)
    own = method_type(name)
    if own.needs_num_classes and num_classes is None:
        num_classes = 7
    return build_method(name, backbone(), NUM_KNOWN, num_classes, own.settings_type())


def batch(name, labels, seed=0):
    """A batch with as many views as the method takes."""
    return any_batch(labels, seed, size=32, num_views=len(method_type(name).views))


def train(name, method, optimizer, epochs, of=6):
    """A short training; returns the loss of every step."""
    seen = []
    for epoch in epochs:
        method.train()
        for step in range(3):
            torch.manual_seed(100 * epoch + step)
            found = losses(method, batch(name, LABELS, step), Progress(epoch, of))
            optimizer.zero_grad()
            found.total.backward()
            optimizer.step()
            seen.append(found.total.item())
        for move in method.end_epoch(Progress(epoch, of)).moves:
            move_rows(optimizer, move)
    return seen


def adam(method):
    return torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=0.01)


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.values(), other.values(), strict=True))


def test_file_defines_one_final_method_with_settings(name):
    own = method_type(name)
    assert issubclass(own, Method)
    assert own.__final__
    assert Method in own.__bases__  # one level deep
    own.settings_type()  # all settings have defaults
    module = catalog.load("methods", name)
    assert "L =" in module.__doc__  # the paper's equation


@pytest.mark.parametrize("num_classes", [None, 7])
def test_logits_are_as_wide_as_there_are_active_classes(name, num_classes):
    method = build(name, num_classes)
    for _ in range(2):
        found = method.eval()(batch(name, LABELS).views[0])
        assert found.logits.shape == (8, method.num_active)
        assert found.embedding.shape[0] == 8
        assert method.num_active >= NUM_KNOWN
        train(name, method, adam(method), range(2))


def test_fewer_classes_than_known_ones_are_refused(name):
    with pytest.raises(UserError, match=r"2 classes are fewer than the 3 known ones.*--classes"):
        build(name, 2)
    assert build(name, 3).num_active >= 3


def test_fitting_it_to_all_images_leaves_it_able_to_predict(name):
    method = build(name).eval()
    images = batch(name, LABELS).views[0]
    before = {key: value.shape for key, value in method.state_dict().items()}
    with torch.no_grad():
        embeddings = method(images).embedding
        method.finish(embeddings.float(), torch.tensor(LABELS))
        logits = method(images).logits
    assert logits.shape == (8, method.num_active)
    assert logits.isfinite().all()
    assert {key: value.shape for key, value in method.state_dict().items()} == before


@pytest.mark.parametrize("labels", [LABELS, [-1] * 8, [0, 1, 2, 0, 1, 2, 0, 1]])
@pytest.mark.parametrize("epoch", [0, 5])
def test_losses_are_finite_with_any_labels(name, labels, epoch):
    method = build(name)
    found = losses(method, batch(name, labels), Progress(epoch, 6))
    found.total.backward()
    assert found.total.isfinite()
    assert found.total.dim() == 0
    assert all(term.isfinite() for term in found.terms.values())
    assert found.logits.shape == (8, method.num_active)
    assert not found.logits.requires_grad
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)


def test_every_parameter_is_trained_or_frozen(name):
    method = build(name)
    losses(method, batch(name, LABELS), Progress(5, 6)).total.backward()
    for parameter_name, parameter in method.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, parameter_name


def test_training_lowers_the_loss(name):
    method = build(name)
    seen = train(name, method, adam(method), range(10), of=50)
    assert sum(seen[-3:]) < 0.7 * sum(seen[:3])


def test_the_order_of_memory_does_not_matter(name):
    method = build(name)
    other = copy.deepcopy(method)
    to_channels_last(other)  # as the loop does
    found = []
    for each in (method, other):
        torch.manual_seed(1)
        found.append(losses(each, batch(name, LABELS), Progress(5, 6)).total)
    torch.testing.assert_close(found[0], found[1])


def test_what_is_logged_is_plain_numbers(name):
    method = build(name)
    train(name, method, adam(method), range(1))
    end = method.end_epoch(Progress(1, 6))
    assert all(type(value) is float for value in end.log.values())


def test_a_checkpoint_is_whole(name):
    """Training that goes on from a checkpoint ends where an unbroken one does."""
    method = build(name)
    optimizer = adam(method)
    train(name, method, optimizer, range(3))
    losses(method, batch(name, LABELS), Progress(3, 6))  # in the middle of an epoch
    state, moments = copy.deepcopy((method.state_dict(), optimizer.state_dict()))

    other = build(name, seed=99)
    other.load_state_dict(state)
    resumed = adam(other)
    resumed.load_state_dict(moments)
    assert other.num_active == method.num_active

    for each, its_optimizer in ((method, optimizer), (other, resumed)):
        train(name, each, its_optimizer, range(3, 6))
    assert same(method.state_dict(), other.state_dict())


def test_all_that_changes_training_is_in_the_checkpoint(name):
    method = build(name)
    before = own_attributes(method)
    train(name, method, adam(method), range(6))
    # Whatever else a method keeps must follow from what is in the checkpoint.
    restored = build(name)
    restored.load_state_dict(method.state_dict())
    assert own_attributes(restored) == own_attributes(method)
    assert own_attributes(method).keys() == before.keys()


def own_attributes(method):
    """Plain values that a method and its layers keep outside parameters and buffers."""
    return {
        (module_name, key): value
        for module_name, module in method.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, int | float | str | tuple | list) and key != "training"
    }


def test_shapes_never_change(name):
    method = build(name)
    before = {key: value.shape for key, value in method.state_dict().items()}
    train(name, method, adam(method), range(6))
    assert {key: value.shape for key, value in method.state_dict().items()} == before


def test_prediction_changes_nothing(name):
    method = build(name).eval()
    before = copy.deepcopy(method.state_dict())
    with torch.inference_mode():
        first = method(batch(name, LABELS).views[0])
        second = method(batch(name, LABELS).views[0])
    assert torch.equal(first.logits, second.logits)
    assert same(before, method.state_dict())
    train(name, method, adam(method), range(1))  # what inference cached must not hinder training


def test_an_image_is_predicted_alike_in_any_company(name):
    method = build(name).eval()
    images = batch(name, LABELS).views[0]
    with torch.no_grad():
        together, alone = method(images).logits, method(images[:1]).logits
    torch.testing.assert_close(together[:1], alone)


def test_hidden_labels_cannot_be_seen(name):
    """Whatever the true labels of unlabelled images are, the weights come out the same."""
    weights = []
    for hidden in (["a", "b", "x", "y"], ["y", "x", "a", "b"]):
        rows = split(["a", "b", "c", "a"], hidden).training_rows()
        method = build(name)
        optimizer = adam(method)
        for epoch in range(6):
            torch.manual_seed(epoch)
            optimizer.zero_grad()
            losses(method, batch(name, rows.labels, epoch), Progress(epoch, 6)).total.backward()
            optimizer.step()
            method.end_epoch(Progress(epoch, 6))
        weights.append(method.state_dict())
    assert same(*weights)


def split(labelled, unlabelled):
    """A split with images of these classes."""
    roles = ["labelled"] * len(labelled) + ["unlabelled"] * len(unlabelled)
    classes = labelled + unlabelled
    ids = [f"{number}.png" for number in range(len(roles))]
    columns = {"id": ids, "role": roles, "class": classes, "group": ids, "sha256": ids}
    basis = Basis("images.parquet", "", None, "group", 0, 0.75, 0.2, 0.0)
    return Split(pa.table(columns, schema=SCHEMA), ("a", "b", "c"), ("x", "y"), basis)


def test_work_follows_the_method_to_another_precision(name):
    method = build(name).double()
    doubled = batch(name, LABELS)
    views = tuple(view.double() for view in doubled.views)
    found = losses(method, type(doubled)(views, doubled.labels, doubled.rows), Progress(5, 6))
    assert found.total.dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        found = losses(build(name), batch(name, LABELS), Progress(5, 6))
    assert found.total.isfinite()
    assert found.total.dtype == torch.float32
