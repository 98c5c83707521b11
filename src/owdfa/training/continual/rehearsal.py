"""Known classes without labelled images: what a run keeps of each, and how that is trained on.

With n such classes of C known ones the objective becomes

    L + n / (C - n) CE(drawn features of the n classes) + |f - f'|^2 / |f'|^2

where f and f' are embeddings of the batch by the network and by the earlier one, and features are
drawn from the statistics that the earlier run keeps (``owdfa.runs.class_statistics``; as in
Zhu et al., CVPR 2021, prototypes with noise). Batch normalisation keeps its statistics: those of a
batch that lacks classes would move all embeddings. A method that is fitted at the end is given
drawn features, too.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _NormBase

from owdfa.devices import algorithms, find_device
from owdfa.distributed import all_gather_rows
from owdfa.loading.views import PlainView
from owdfa.methods.base import Method
from owdfa.records.split import Split
from owdfa.records.training import Features, Losses
from owdfa.runs.class_statistics import ClassStatistics
from owdfa.runs.data import open_store
from owdfa.runs.run import Run
from owdfa.runs.settings import ContinualSettings, RunSettings
from owdfa.training.continual import known_classes, missing_classes
from owdfa.training.evaluation import fit_inputs


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
        own = settings.continual
        if own is None or not (own.replay_weight or own.distil_weight):
            return None
        run = Run.open(settings.continual.run)
        gone, names = missing_classes(run, data), known_classes(settings, data)
        kept = ClassStatistics.read(run.folder)
        if not gone or kept is None:
            return None
        teacher = run.method().to(device).requires_grad_(requires_grad=False)
        labels = np.array([names.index(name) for name in gone])
        return cls(teacher, kept.take(gone), labels, len(names), own)

    @staticmethod
    def hold_statistics(method: Method) -> None:
        """Let normalisation use what it has seen, not the batch, which lacks classes."""
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
