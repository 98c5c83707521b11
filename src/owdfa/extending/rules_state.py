"""Rules of what a method keeps and predicts. Each yields a line for what is broken."""

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from owdfa.extending.toys import LABELS, NUM_CLASSES, NUM_KNOWN, Subject, adam, fit, losses, train
from owdfa.methods.base import Method
from owdfa.records.training import Progress


def logits_are_as_wide_as_there_are_active_classes(subject: Subject) -> Iterator[str]:
    """Before and after training, with and without the number of classes."""
    for num_classes in (None, NUM_KNOWN, NUM_CLASSES):
        method = subject.build(num_classes)
        for _ in range(2):
            with torch.no_grad():
                found = method.eval()(subject.batch().views[0])
            if found.logits.shape != (len(LABELS), method.num_active):
                yield f"logits are {tuple(found.logits.shape)}, not (images, {method.num_active})"
            if found.embedding.dim() != 2 or len(found.embedding) != len(LABELS):
                yield f"embeddings are {tuple(found.embedding.shape)}, not (images, D)"
            if method.num_active < NUM_KNOWN:
                yield f"{method.num_active} classes are active, fewer than the known ones"
            train(subject, method, adam(method), range(1))


def finishing_leaves_it_able_to_predict(subject: Subject) -> Iterator[str]:
    """After ``finish`` the logits are finite, and no parameter or buffer has another shape."""
    method, images = subject.build().eval(), subject.batch().views[0]
    before = _shapes(method)
    fit(method, subject.batch())
    with torch.no_grad():
        logits = method(images).logits
    if logits.shape != (len(LABELS), method.num_active):
        yield f"after finish() logits are {tuple(logits.shape)}, not (images, num_active)"
    if not logits.isfinite().all():
        yield "after finish() logits are not finite"
    yield from (f"finish() changes the shape of {name}" for name in _differ(before, method))


def shapes_never_change(subject: Subject) -> Iterator[str]:
    """Parameters and buffers keep their shapes in training."""
    method = subject.build()
    before = _shapes(method)
    train(subject, method, adam(method), range(6))
    yield from (f"training changes the shape of {name}" for name in _differ(before, method))


def a_checkpoint_is_complete(subject: Subject) -> Iterator[str]:
    """Training that goes on from a checkpoint ends where an unbroken one does, bit by bit."""
    method = subject.build()
    optimizer = adam(method)
    train(subject, method, optimizer, range(3))
    if subject.is_trained:
        losses(method, subject.batch(), Progress(3, 6))  # in the middle of an epoch
    state, moments = copy.deepcopy((method.state_dict(), optimizer.state_dict()))
    other = subject.build(seed=99)
    other.load_state_dict(state)
    resumed = adam(other)
    resumed.load_state_dict(moments)
    if other.num_active != method.num_active:
        yield f"{method.num_active} classes are active, {other.num_active} from the checkpoint"
    for each, its_optimizer in ((method, optimizer), (other, resumed)):
        train(subject, each, its_optimizer, range(3, 6))
    for name in _unequal(method.state_dict(), other.state_dict()):
        yield f"{name} is another one when training goes on from a checkpoint; keep in buffers"
        return


def all_that_changes_training_is_in_the_checkpoint(subject: Subject) -> Iterator[str]:
    """Plain attributes follow from what is in the checkpoint."""
    method = subject.build()
    before = _attributes(method)
    train(subject, method, adam(method), range(6))
    restored = subject.build()
    restored.load_state_dict(method.state_dict())
    after, expected = _attributes(method), _attributes(restored)
    for key in sorted(after.keys() | expected.keys() | before.keys()):
        if key not in before or after.get(key) != expected.get(key):
            yield f"training changes the attribute {'.'.join(key)}; keep it in a buffer"


def prediction_changes_nothing(subject: Subject) -> Iterator[str]:
    """Predicting twice gives the same, changes no weight, and training goes on afterwards."""
    method, images = subject.build().eval(), subject.batch().views[0]
    before = copy.deepcopy(method.state_dict())
    with torch.inference_mode():
        first, second = method(images), method(images)
    if not torch.equal(first.logits, second.logits):
        yield "predicting the same images twice gives other logits"
    yield from (f"prediction changes {n}" for n in _unequal(before, method.state_dict()))
    train(subject, method, adam(method), range(1))  # what inference cached must not hinder it


def an_image_is_predicted_alike_in_any_company(subject: Subject) -> Iterator[str]:
    """The prediction of an image does not depend on the other images of the batch."""
    method, images = subject.build().eval(), subject.batch().views[0]
    with torch.no_grad():
        together, alone = method(images).logits, method(images[:1]).logits
    if not torch.allclose(together[:1], alone, rtol=1e-4, atol=1e-5):
        yield "the logits of an image depend on the others in its batch"


def _shapes(method: Method) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in method.state_dict().items()}


def _differ(before: Mapping[str, torch.Size], method: Method) -> list[str]:
    after = _shapes(method)
    names = sorted(before.keys() | after.keys())
    return [name for name in names if before.get(name) != after.get(name)]


def _unequal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    return [name for name, value in one.items() if not torch.equal(value, other[name])]


def _attributes(method: Method) -> dict[tuple[str, str], object]:
    """Plain values that a method and its layers keep outside parameters and buffers."""
    return {
        (module_name, key): value
        for module_name, module in method.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, int | float | str | tuple | list) and key != "training"
    }
