"""Continue a run with other classes: its network, rows of classes matched by name, no class lost.

The network begins with all weights of the earlier one. In a tensor with a row for each class
(``Method.class_axes``) a class keeps its row, wherever that now is. A class that is new gets the
row of the earlier run's novel type that most of its images were given to; where there is none, a
row along the mean embedding of its images (weight imprinting, Qi, Brown, Lowe, CVPR 2018), as long
as those of known classes are on average.

A class that is known to the earlier run, and of which no labelled image is left, stays known. While
the method is trained

    L + n / (C - n) CE(drawn features of the n such classes) + |f - f'|^2 / |f'|^2

where f and f' are embeddings of the batch by the network and by the earlier one, and features are
drawn from the statistics that the earlier run keeps (``owdfa.runs.class_statistics``). A method
that is fitted at the end is given drawn features, too.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from torch.nn.modules.batchnorm import _NormBase

from owdfa.devices import algorithms, find_device
from owdfa.distributed import all_gather_rows
from owdfa.errors import UserError
from owdfa.images.store import Store
from owdfa.loading.views import PlainView
from owdfa.methods.base import Method
from owdfa.records.split import Split, TrainingRows
from owdfa.records.training import UNLABELLED, Features, Losses
from owdfa.runs.class_statistics import ClassStatistics
from owdfa.runs.data import open_store
from owdfa.runs.metadata import RunMetadata
from owdfa.runs.run import Run
from owdfa.runs.settings import ContinualSettings, RunSettings
from owdfa.training.evaluation import evaluate, fit_inputs

_MOST = 0.5  # of a new class's images, from which it takes the row of a novel type


def known_classes(settings: RunSettings, data: Split) -> tuple[str, ...]:
    """Known classes of a run: the split's, then those that the run it continues knows besides."""
    if settings.continual is None:
        return data.known
    earlier = RunMetadata.read(Path(settings.continual.run)).known
    return data.known + tuple(name for name in earlier if name not in data.known)


def check_continued(settings: RunSettings, data: Split) -> None:
    """Check that the run which settings name can be continued with them, on this split.

    Raises:
        UserError: It cannot.
    """
    if settings.continual is None:
        return
    folder = settings.continual.run
    run = Run.open(folder)
    _check_start(run, settings)
    hidden = [name for name in run.known if name in data.novel]
    if hidden:
        raise UserError(
            f"{folder}: knows {hidden[0]!r} by its labels, which are hidden in the split; split"
            " again with that class among --known, or train anew"
        )
    gone = missing_classes(run, data)
    if gone and settings.labels == "all":
        raise UserError(
            f"{folder}: knows {gone[0]!r}, of which the split has no labelled image; with"
            " labels=all nothing stands for it, so train anew"
        )
    kept = ClassStatistics.read(run.folder)
    lost = [name for name in gone if kept is None or name not in kept.names]
    if lost:
        raise UserError(
            f"{folder}: keeps no statistics of {lost[0]!r}, of which the split has no labelled"
            f" image; make them by that run's own command with --resume, or add such images"
        )


def _check_start(run: Run, settings: RunSettings) -> None:
    """Check that the network can begin with all of the run's."""
    folder, made = run.folder, run.metadata.provenance
    if not run.metadata.complete:
        raise UserError(f"{folder}: is not trained to its end; run its command with --resume first")
    for what, here, there in (
        ("method", settings.method.name, made.method),
        ("backbone", settings.backbone.name, made.backbone),
    ):
        if here != there:
            raise UserError(
                f"{folder}: its {what} is {there}, not {here}; --from continues the same one, and"
                " --weights in its place takes the backbone of a run for another method"
            )
    if made.selection == "oracle" != settings.selection:
        raise UserError(
            f"{folder}: test labels chose its checkpoint, which this run must not know; continue"
            " another run"
        )
    if settings.stages or settings.backbone.weights != str(folder):
        raise UserError(
            f"{folder}: --from begins with the whole network of it; leave out --weights and stages"
        )
    if settings.pseudo_label_confidence is not None:
        raise UserError(
            "pseudo_label_confidence: numbers classes as the earlier run did; leave it out with"
            " --from"
        )


def check_crops(settings: RunSettings, store: Store) -> None:
    """Check that crops are made as those of the run that is continued.

    Raises:
        UserError: They are not.
    """
    if settings.continual is None:
        return
    there, here = RunMetadata.read(Path(settings.continual.run)), store.basis
    taken = there.store_size, there.faces, there.fit
    if (here.size, here.faces, here.fit) != taken:
        raise UserError(
            f"{store.folder}: has crops of {here.size} px, faces {here.faces} and fit {here.fit},"
            f" and {settings.continual.run} was trained on {taken[0]} px, {taken[1]} and"
            f" {taken[2]}; prepare the images as for that run"
        )


def missing_classes(run: Run, data: Split) -> tuple[str, ...]:
    """Classes known to a run of which a split has no labelled image."""
    rows = data.training_rows()
    there = {data.known[label] for label in np.unique(rows.labels[rows.labels != UNLABELLED])}
    return tuple(name for name in run.known if name not in there)


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
    axes = _axes(method, settings, len(names))
    carry_over(method, old, axes, np.append(sources, others).astype(np.int64))
    kept = np.flatnonzero((sources >= 0) & (sources < len(before)))
    _imprint(method, axes, {c: mean for c, mean in means.items() if sources[c] < 0}, kept)


def _axes(method: Method, settings: RunSettings, num_known: int) -> dict[str, int]:
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


@dataclass(frozen=True)
class Rehearsal:
    """Known classes of which no labelled image is left, and what keeps them.

    Attributes:
        teacher: The earlier network, in evaluation mode.
        statistics: Of the classes, by the earlier network.
        labels: (n,) int64, their indices.
        num_known: C, of known classes.
        settings: How much each term counts.
    """

    teacher: Method
    statistics: ClassStatistics
    labels: np.ndarray
    num_known: int
    settings: ContinualSettings

    @classmethod
    def prepare(
        cls, settings: RunSettings, data: Split, device: torch.device
    ) -> "Rehearsal | None":
        """What a run rehearses; None where it has labelled images of every class."""
        if settings.continual is None:
            return None
        run = Run.open(settings.continual.run)
        gone, names = missing_classes(run, data), known_classes(settings, data)
        kept = ClassStatistics.read(run.folder)
        if not gone or kept is None:
            return None
        teacher = run.method().to(device).requires_grad_(requires_grad=False)
        labels = np.array([names.index(name) for name in gone])
        return cls(teacher, kept.take(gone), labels, len(names), settings.continual)

    def draw(self, counts: np.ndarray) -> tuple[Tensor, Tensor]:
        """Draw features of each class by torch's generator of the CPU.

        Args:
            counts: (n,) int64, how many of each.

        Returns:
            (sum of counts, D) float32 and their labels, int64; on the CPU.
        """
        rows = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))
        means, factors, deviations = (
            torch.from_numpy(each)[rows]
            for each in (self.statistics.means, self.statistics.factors, self.statistics.deviations)
        )
        along = torch.randn(len(rows), 1, factors.shape[1]) @ factors
        drawn = means + along[:, 0] + deviations * torch.randn_like(deviations)
        return drawn, torch.from_numpy(self.labels)[rows]

    def add_to(self, losses: Losses, method: Method, images: Tensor, seen: Features) -> Losses:
        """Add the two terms that keep the classes.

        Args:
            losses: Of the batch.
            method: The network in training.
            images: Normalised, of one view, those of this process.
            seen: What the network made of that view of the whole batch.
        """
        size, num = len(seen.embedding), len(self.labels)
        with torch.no_grad():
            before = all_gather_rows(self.teacher.features(images).embedding, size).float()
        drift = (seen.embedding.float() - before).square().sum() / before.square().sum()
        # As many as each would have in a batch of labelled images alone.
        drawn, labels = self.draw(np.full(num, max(1, size // self.num_known)))
        logits = method.classify(Features(drawn.to(before.device)))
        replay = cross_entropy(logits, labels.to(logits.device))
        share = num / max(1, self.num_known - num)
        total = losses.total + self.settings.replay_weight * share * replay
        total = total + self.settings.distil_weight * drift
        return losses._replace(
            total=total, terms={**losses.terms, "replay": replay, "distil": drift}
        )


def keep_class_statistics(run: Run, split: Path, store: Path | None) -> None:
    """Write the statistics of a trained run's known classes into its folder, where they lack.

    Those of classes without a labelled image are the ones that the earlier run kept.

    Args:
        run: The run, complete.
        split: Folder of its split.
        store: Folder of its crops; None for the one that the manifest of the split names.
    """
    digest = run.metadata.provenance.weights_digest
    kept = ClassStatistics.read(run.folder)
    if digest is None or (kept is not None and kept.weights_digest == digest):
        return
    data = Split.read(split, ("id", "role", "class"))
    rows, settings = data.training_rows().only_labelled(), run.settings
    crops, method = open_store(split, data, store), run.method().to(find_device(settings.device))
    view = PlainView(run.metadata.image_size, run.metadata.mean, run.metadata.std)
    with algorithms(deterministic=settings.deterministic):
        inputs = fit_inputs(method, crops, rows.ids, view, settings)
    made = ClassStatistics.of(inputs, rows.labels, run.known, digest)
    if settings.continual is not None:
        earlier = ClassStatistics.read(Path(settings.continual.run))
        if earlier is not None:
            left = [n for n in earlier.names if n in run.known and n not in made.names]
            made = made.joined(earlier.take(left))
    made.write(run.folder)
