"""What a run keeps of its known classes: the mean and the spread of their images' features.

    x = m + F z + d * e        z, e ~ N(0, 1)

m are the mean, F the largest principal components and d the deviations that they leave, of what
``Method.fit_input`` makes of the labelled images. Features of a class can be drawn from them when
its images are gone. Nothing else is kept of an image.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from owdfa.errors import UserError
from owdfa.files import atomic, holds_mark

FILE = "class_statistics.safetensors"
_RANK = 16  # principal components, at most
_IMAGES_A_COMPONENT = 4  # fewer make a component of chance alone
_PRIOR = 10  # images that the deviation within all classes counts for
_META = "owdfa"


@dataclass(frozen=True)
class ClassStatistics:
    """Statistics of C classes, of features of D numbers.

    Attributes:
        names: Of the classes.
        weights_digest: SHA-256 of the weights of the network that made the features.
        counts: (C,) int64, images that they rest on.
        means: (C, D) float32, m.
        factors: (C, R, D) float32, the rows of F; those that there are not are 0.
        deviations: (C, D) float32, d.
    """

    names: tuple[str, ...]
    weights_digest: str
    counts: np.ndarray
    means: np.ndarray
    factors: np.ndarray
    deviations: np.ndarray

    @classmethod
    def of(
        cls, rows: np.ndarray, labels: np.ndarray, names: Sequence[str], weights_digest: str
    ) -> "ClassStatistics":
        """Compute those of the classes that have images.

        Deviations of a class of few images are drawn towards those within all classes.

        Args:
            rows: (N, D) float32, features.
            labels: (N,) int64, indices into ``names``.
            names: Of the classes.
            weights_digest: Of the network.
        """
        there = np.unique(labels)
        means = np.stack([rows[labels == each].mean(axis=0) for each in there])
        within = rows - means[np.searchsorted(there, labels)]
        pooled = within.var(axis=0)
        factors = np.zeros((len(there), _RANK, rows.shape[1]), np.float32)
        deviations = np.empty_like(means)
        for place, each in enumerate(there):
            mine = within[labels == each]
            num, rank = len(mine), min(_RANK, len(mine) // _IMAGES_A_COMPONENT, rows.shape[1])
            _, sizes, directions = np.linalg.svd(mine, full_matrices=False)
            factors[place, :rank] = (sizes[:rank, None] * directions[:rank]) / np.sqrt(num)
            left = mine.var(axis=0) - np.square(factors[place]).sum(axis=0)
            weight = num / (num + _PRIOR)
            deviations[place] = np.sqrt(weight * left.clip(min=0) + (1 - weight) * pooled)
        counts = np.bincount(labels)[there].astype(np.int64)
        chosen = tuple(names[each] for each in there)
        return cls(chosen, weights_digest, counts, means, factors, deviations)

    def take(self, names: Sequence[str]) -> "ClassStatistics":
        """Those of some of the classes."""
        rows = [self.names.index(name) for name in names]
        arrays = (each[rows] for each in self._arrays().values())
        return ClassStatistics(tuple(names), self.weights_digest, *arrays)

    def joined(self, other: "ClassStatistics") -> "ClassStatistics":
        """These and those of the classes of ``other``, which are others; the digest is these'."""
        both = zip(self._arrays().values(), other._arrays().values(), strict=True)
        arrays = (np.concatenate(pair) for pair in both)
        return ClassStatistics(self.names + other.names, self.weights_digest, *arrays)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "counts": self.counts,
            "means": self.means,
            "factors": self.factors,
            "deviations": self.deviations,
        }

    def write(self, run: Path) -> None:
        """Write them into a run folder."""
        note = json.dumps({"names": self.names, "weights_digest": self.weights_digest})
        with atomic(run / FILE, lambda found: holds_mark(found, _META.encode())) as temporary:
            temporary.write_bytes(save(self._arrays(), {_META: note}))

    @classmethod
    def read(cls, run: Path) -> "ClassStatistics | None":
        """Read those of a run folder; None where it has none.

        Raises:
            UserError: They are damaged.
        """
        path = run / FILE
        if not path.is_file():
            return None
        try:
            content = path.read_bytes()
            size = int.from_bytes(content[:8], "little")
            note = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][_META])
            names, digest = tuple(note["names"]), str(note["weights_digest"])
            return cls(names, digest, **load(content))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            raise UserError(
                f"{path}: is damaged; remove it and run the run's command again with --resume"
            ) from None
