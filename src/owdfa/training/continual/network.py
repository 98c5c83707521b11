"""The network that a continued run begins with: all weights of the earlier one.

In a tensor with a row for each class (``Method.class_axes``) a class keeps its row, wherever that
now is. A class that is new gets the row of the earlier run's novel type that most of its images
were given to; where there is none, a row along the mean embedding of its images (weight imprinting,
Qi, Brown, Lowe, CVPR 2018), as long as those of known classes are on average. Novel types that no
new class took follow the known classes.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.nn.modules.batchnorm import _NormBase

from owdfa.devices import find_device
from owdfa.errors import UserError
from owdfa.images.store import Store
from owdfa.loading.views import PlainView
from owdfa.methods.base import Method
from owdfa.records.split import TrainingRows
from owdfa.runs.run import Run
from owdfa.runs.settings import RunSettings
from owdfa.training.evaluation import evaluate

_MOST = 0.5  # of a new class's images, from which it takes the row of a novel type


def continue_network(
    method: Method, settings: RunSettings, names: tuple[str, ...], rows: TrainingRows, store: Store
) -> None:
    """Give a new network the weights of the run that is continued, and each class its row.

    Args:
        method: Newly built, on the CPU; changed in place.
        settings: Of the run.
        names: Classes that have labels, by index.
        rows: Images to train on.
        store: Their crops.

    Raises:
        UserError: A setting makes the two networks differ in more than their classes.
    """
    assert settings.continual is not None
    run = Run.open(settings.continual.run)
    old = run.method()
    before = run.known + run.metadata.novel_labels
    sources = np.array([before.index(name) if name in before else -1 for name in names])
    new = {c for c in np.flatnonzero(sources < 0).tolist() if (rows.labels == c).any()}
    means = {}
    if new:
        embeddings, found, labels = _look(old, rows, new, store, run, settings)
        means = {c: embeddings[labels == c].mean(axis=0) for c in new}
        for class_, row in _novel_rows(found, labels, len(before)).items():
            sources[class_] = row
    others = [row for row in range(len(before), old.num_active) if row not in sources]
    axes = class_axes(method, settings, len(names))
    carry_over(method, old, axes, np.append(sources, others).astype(np.int64))
    kept = np.flatnonzero((sources >= 0) & (sources < len(before)))
    _imprint(method, axes, {c: mean for c, mean in means.items() if sources[c] < 0}, kept)


def class_axes(method: Method, settings: RunSettings, num_known: int) -> dict[str, int]:
    """Which axis of a method's tensors runs over classes, see ``Method.class_axes``."""
    num_classes = settings.classes if isinstance(settings.classes, int) else None
    return method.class_axes(method.backbone, num_known, num_classes, settings.method)


def _look(
    old: Method,
    rows: TrainingRows,
    classes: set[int],
    store: Store,
    run: Run,
    settings: RunSettings,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings (N, D), rows that they are given to and labels of the images of some classes."""
    chosen = np.flatnonzero(np.isin(rows.labels, list(classes)))
    view = PlainView(run.metadata.image_size, run.metadata.mean, run.metadata.std)
    ids = np.asarray(rows.ids)[chosen].tolist()
    device = find_device(settings.device)
    output = evaluate(old.to(device), store, ids, view, settings)
    old.cpu()
    return output.embedding, output.probabilities.argmax(axis=1), rows.labels[chosen]


def _novel_rows(found: np.ndarray, labels: np.ndarray, num_known: int) -> dict[int, int]:
    """The novel row that most images of each new class were given to; a row serves one class."""
    counts = {
        (class_, row): float((found[labels == class_] == row).mean())
        for class_ in np.unique(labels).tolist()
        for row in np.unique(found[found >= num_known]).tolist()
    }
    taken: dict[int, int] = {}
    for class_, row in sorted(counts, key=lambda pair: -counts[pair]):
        if counts[class_, row] > _MOST and class_ not in taken and row not in taken.values():
            taken[class_] = row
    return taken


@torch.no_grad()
def carry_over(method: Method, old: Method, axes: dict[str, int], sources: np.ndarray) -> None:
    """Copy what training has made of one network into another whose classes are others.

    That is all of the backbone, parameters, statistics of normalisation, and tensors with a row for
    each class. Other buffers, such as thresholds and counts, stay as a new training has them.

    Args:
        method: Changed in place.
        old: Where from.
        axes: Of tensors of ``method``, see ``Method.class_axes``.
        sources: By row of a class in ``method``: its row in ``old``, or -1 for none.

    Raises:
        UserError: A tensor has another shape.
    """
    here, there = method.state_dict(), old.state_dict()
    whole = tuple(
        f"{name}."
        for name, module in method.named_modules()
        if module is method.backbone or isinstance(module, _NormBase)
    )
    carried = {name for name, _ in method.named_parameters()} | axes.keys()
    for name, tensor in here.items():
        if name not in carried and not name.startswith(whole):
            continue
        if name in axes:
            _copy_rows(tensor, there[name], axes[name], sources)
        elif tensor.shape != there[name].shape:
            raise UserError(
                f"{name}: has shape {tuple(tensor.shape)}, in the run that is continued"
                f" {tuple(there[name].shape)}; leave out the setting that makes it another network"
            )
        else:
            tensor.copy_(there[name])


def _copy_rows(tensor: Tensor, old: Tensor, axis: int, sources: np.ndarray) -> None:
    """Copy each row whose source is there; a tensor may have rows for known classes alone."""
    num = min(len(sources), tensor.shape[axis])
    rows = np.flatnonzero((sources[:num] >= 0) & (sources[:num] < old.shape[axis]))
    index = torch.from_numpy(rows)
    tensor.index_copy_(axis, index, old.index_select(axis, torch.from_numpy(sources[rows])))


@torch.no_grad()
def _imprint(
    method: Method, axes: dict[str, int], means: dict[int, np.ndarray], kept: np.ndarray
) -> None:
    """Give classes a row along their mean embedding, wherever a row is a vector of its length.

    Args:
        method: Changed in place.
        axes: Of its tensors, see ``Method.class_axes``.
        means: (D,) by class.
        kept: Rows of the classes that were known before; theirs is the length.
    """
    state = method.state_dict()
    for class_, mean in means.items():
        for name, axis in axes.items():
            tensor = state[name]
            if axis == 0 and tensor.is_floating_point() and tensor.shape[1:] == mean.shape:
                length = tensor[torch.from_numpy(kept)].norm(dim=1).mean()
                tensor[class_] = length * normalize(torch.from_numpy(mean), dim=0)
