"""Known classes without labelled images: what a run keeps of each, and how that is trained on.

With n such classes of C known ones the objective becomes

    L + n / (C - n) CE(drawn features of the n classes)

where features are drawn from the statistics that the earlier run keeps
(``owdfa.runs.class_statistics``), as if images of those classes were in the batch. They hold for
the earlier network's embedding, which therefore stays as it is: only rows of classes are trained.
(Trained too, and held by distillation, it did no better: docs/discover.md.)
A method that is fitted at the end is given drawn features, too.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _NormBase

from owdfa.devices import algorithms, find_device
from owdfa.errors import UserError
from owdfa.loading.views import PlainView
from owdfa.methods.base import Method
from owdfa.records.split import Split
from owdfa.records.training import Features, Losses
from owdfa.runs.class_statistics import ClassStatistics
from owdfa.runs.data import open_store
from owdfa.runs.run import Run
from owdfa.runs.settings import RunSettings
from owdfa.training.continual import known_classes, missing_classes
from owdfa.training.continual.network import class_axes
from owdfa.training.evaluation import fit_inputs


@dataclass(frozen=True)
class Rehearsal:
    """Known classes of which no labelled image is left, and what keeps them.

    Attributes:
        statistics: Of the classes, by the earlier network.
        labels: (n,) int64, their indices.
        num_known: C, of known classes.
        weight: How much they count.
    """

    statistics: ClassStatistics
    labels: np.ndarray
    num_known: int
    weight: float

    @classmethod
    def find(cls, settings: RunSettings, data: Split) -> "Rehearsal | None":
        """What a run rehearses; None where it has labelled images of every class."""
        own = settings.continual
        if own is None or not own.replay_weight:
            return None
        run = Run.open(own.run)
        gone, names = missing_classes(run, data), known_classes(settings, data)
        kept = ClassStatistics.read(run.folder)
        if not gone or kept is None:
            return None
        labels = np.array([names.index(name) for name in gone])
        return cls(kept.take(gone), labels, len(names), own.replay_weight)

    def freeze(self, method: Method, settings: RunSettings) -> None:
        """Leave nothing to train but rows of classes.

        Raises:
            UserError: The method trains no such rows.
        """
        axes = class_axes(method, settings, self.num_known)
        for name, parameter in method.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and name in axes)
        trained = any(each.requires_grad for each in method.parameters())
        if settings.epochs and not trained:
            raise UserError(
                f"{self.statistics.names[0]}: no labelled image of it is left, so that only rows of"
                f" classes may be trained, and {settings.method.name} has none; add --set epochs=0"
            )

    @staticmethod
    def hold_statistics(method: Method) -> None:
        """Let normalisation use what it has seen, not the batch."""
        for module in method.modules():
            if isinstance(module, _NormBase):
                module.eval()

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

    def add_to(self, losses: Losses, method: Method, batch_size: int) -> Losses:
        """Add the term that keeps the classes."""
        num = len(self.labels)
        # As many as each would have in a batch of labelled images alone.
        drawn, labels = self.draw(np.full(num, max(1, batch_size // self.num_known)))
        device = method.backbone.scale.device
        replay = cross_entropy(method.classify(Features(drawn.to(device))), labels.to(device))
        total = losses.total + self.weight * num / max(1, self.num_known - num) * replay
        return losses._replace(total=total, terms={**losses.terms, "replay": replay})


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
