"""Rules of a method's objective. Each yields a line for what is broken, and nothing if all is well.

A method that breaks a rule may also raise whatever it likes.
"""

import copy
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from owdfa.extending.toys import (
    LABELS,
    LATE,
    NUM_CLASSES,
    NUM_KNOWN,
    Subject,
    adam,
    fit,
    losses,
    train,
)
from owdfa.methods.base import Method, method_type
from owdfa.records.training import UNLABELLED, Batch, Losses, Progress
from owdfa.training.continual.network import carry_over
from owdfa.training.optimize import to_channels_last

_MIXTURES = {
    "some labels": LABELS,
    "no labelled image": (UNLABELLED,) * len(LABELS),
    "no unlabelled image": tuple(i % NUM_KNOWN for i in range(len(LABELS))),
}
_FALL = 0.3  # of the first loss, by which a short training lowers it


def losses_are_finite(subject: Subject) -> Iterator[str]:
    """Losses, terms and gradients are finite with and without labelled and unlabelled images."""
    for mixture, labels in _MIXTURES.items():
        for progress in (Progress(0, 6), LATE):
            method = subject.build()
            found = losses(method, subject.batch(labels), progress)
            where = f"in epoch {progress.epoch} of {progress.epochs} with {mixture}"
            if found.total.dim() != 0:
                yield f"the total has shape {tuple(found.total.shape)}, not that of one number"
                return
            found.total.backward()
            terms = {"total": found.total, **found.terms}
            yield from (f"{n} is not finite {where}" for n, t in terms.items() if not _finite(t))
            for name, parameter in method.named_parameters():
                if parameter.grad is not None and not _finite(parameter.grad):
                    yield f"the gradient of {name} is not finite {where}"
            if found.logits.shape != (len(labels), method.num_active):
                yield f"its logits are {tuple(found.logits.shape)}, not (images, num_active)"
            if found.logits.requires_grad:
                yield "the logits of Losses are not detached"


def gradients_reach_what_is_trained(subject: Subject) -> Iterator[str]:
    """Every parameter has a gradient, unless it is frozen; so has the backbone."""
    method = subject.build()
    losses(method, subject.batch(), LATE).total.backward()
    for name, parameter in method.named_parameters():
        if parameter.requires_grad and parameter.grad is None:
            yield f"no gradient reaches {name}; use it in the objective, or freeze it"
        if not parameter.requires_grad and parameter.grad is not None:
            yield f"{name} is frozen and has a gradient"
    trained = [each for each in method.backbone.parameters() if each.requires_grad]
    if trained and not any(each.grad is not None and each.grad.any() for each in trained):
        yield "no gradient reaches the backbone"


def training_learns(subject: Subject) -> Iterator[str]:
    """Some steps lower the loss, and labelled images are given their class."""
    method = subject.build()
    seen = train(subject, method, adam(method), range(10), of=50)
    first, last = sum(seen[:3]) / 3, sum(seen[-3:]) / 3
    if not last < first - _FALL * abs(first):
        yield f"{len(seen)} steps changed the loss from {first:.3g} to {last:.3g} only"
    batch = subject.batch()
    fit(method.eval(), batch)
    with torch.no_grad():
        logits = method(batch.views[0]).logits
    chosen = batch.labelled
    right = logits[chosen].argmax(dim=1) == batch.labels[chosen]
    if right.float().mean() < 0.5:
        num, all_ = int(right.sum()), int(chosen.sum())
        yield (
            f"after {len(seen)} steps {num} of {all_} labelled images are given their class; the "
            "logits of the known classes come first, in order of the labels"
        )


def same_seed_same_losses(subject: Subject) -> Iterator[str]:
    """Two methods made and computed with one seed are bit-identical."""
    found, gradients = [], []
    for _ in range(2):
        method = subject.build()
        torch.manual_seed(5)
        made = losses(method, subject.batch(), LATE)
        made.total.backward()
        found.append(made)
        gradients.append({n: p.grad for n, p in method.named_parameters() if p.grad is not None})
    one, other = found
    yield from (f"{name} differs" for name in _different(one, other, exactly=True))
    for name, gradient in gradients[0].items():
        if not torch.equal(gradient, gradients[1][name]):
            yield f"the gradient of {name} differs"


def gathered_features_give_the_same_losses(subject: Subject) -> Iterator[str]:
    """Features computed in two parts, as two processes do, give the losses of the whole batch.

    Batch normalisation and dropout are held still, which differ between processes by design.
    """
    method, batch = subject.build().double(), _double(subject.batch())
    for module in method.modules():
        module.train(not isinstance(module, _BatchNorm | _DropoutNd))
    made = []
    for parts in ([slice(0, None)], [slice(0, 3), slice(3, None)]):
        torch.manual_seed(1)
        views = []
        for view in batch.views:
            several = [method.features(view[part]) for part in parts]
            embedding = torch.cat([each.embedding for each in several])
            maps = tuple(torch.cat(each) for each in zip(*(f.maps for f in several), strict=True))
            heads = {n: torch.cat([f.parts[n] for f in several]) for n in several[0].parts}
            views.append(type(several[0])(embedding, maps, heads))
        torch.manual_seed(2)
        state = copy.deepcopy(method.state_dict())
        made.append(method.objective(tuple(views), batch.labels, LATE))
        method.load_state_dict(state)
    for name in _different(*made, exactly=False):
        yield f"{name} differs when features() is given the batch in two parts"


def the_order_of_memory_does_not_matter(subject: Subject) -> Iterator[str]:
    """The losses are the same with channels last, as the training loop has them."""
    method = subject.build()
    other = copy.deepcopy(method)
    to_channels_last(other)
    found = []
    for each in (method, other):
        torch.manual_seed(1)
        found.append(losses(each, subject.batch(), LATE))
    for name in _different(*found, exactly=False):
        yield f"{name} differs with channels last"


def work_follows_another_precision(subject: Subject) -> Iterator[str]:
    """In float64 the total is float64; under autocast to bfloat16 it is float32, and finite."""
    found = losses(subject.build().double(), _double(subject.batch()), LATE)
    if found.total.dtype != torch.float64:
        yield f"in float64 the total is {found.total.dtype}"
    with torch.autocast("cpu", torch.bfloat16):
        found = losses(subject.build(), subject.batch(), LATE)
    if found.total.dtype != torch.float32:
        yield f"under autocast to bfloat16 the total is {found.total.dtype}"
    if not _finite(found.total):
        yield "under autocast to bfloat16 the total is not finite"


def a_class_keeps_its_row_in_a_continued_run(subject: Subject) -> Iterator[str]:
    """Continued with a new class between the others, in another order, known logits are as before.

    That is what ``class_axes`` is for.
    """
    old = subject.build()
    train(subject, old, adam(old), range(1))
    new, sources = subject.build(seed=9, num_known=NUM_KNOWN + 1), np.array([2, -1, 0, 1])
    own = method_type(subject.name)
    num_classes = NUM_CLASSES if own.needs_num_classes else None
    axes = own.class_axes(new.backbone, NUM_KNOWN + 1, num_classes, own.settings_type())
    carry_over(new, old, axes, sources)
    images = subject.batch().views[0]
    with torch.no_grad():
        before, after = (each.eval()(images).logits for each in (old, new))
    kept = sources >= 0
    if not torch.allclose(after[:, : len(sources)][:, kept], before[:, sources[kept]], atol=1e-4):
        yield "a class that gets another index loses its row; declare it in class_axes()"


def what_is_logged_is_plain_numbers(subject: Subject) -> Iterator[str]:
    """What ``end_epoch`` logs are floats, not tensors."""
    method: Method = subject.build()
    train(subject, method, adam(method), range(1))
    for name, value in method.end_epoch(Progress(1, 6)).log.items():
        if type(value) is not float:
            yield f"end_epoch logs {name} as {type(value).__name__}, not as a float"


def _finite(tensor: torch.Tensor) -> bool:
    return bool(tensor.isfinite().all())


def _double(batch: Batch) -> Batch:
    return Batch(tuple(view.double() for view in batch.views), batch.labels, batch.rows)


def _different(one: Losses, other: Losses, *, exactly: bool) -> list[str]:
    """Names of the terms in which two differ."""
    pairs = {"total": (one.total, other.total)}
    pairs |= {name: (term, other.terms[name]) for name, term in one.terms.items()}
    same = torch.equal if exactly else partial(torch.allclose, rtol=1e-4, atol=1e-5)
    return [name for name, pair in pairs.items() if not same(*pair)]
