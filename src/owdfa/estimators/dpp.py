"""Number of prototypes that CAL's pruning keeps (DPP), counted on a run that found its classes.

Zheng et al., AAAI 2026, https://arxiv.org/abs/2512.12667. The run was trained by CAL with
``classes = "auto"``, so that it began with many prototypes and pruned. The rule of its epoch ends
(``owdfa.dpp``) is applied once more: to how many images, in evaluation, go to each novel prototype.
That is no more than the run's active classes, and fewer where another epoch would have pruned.

The parts of the interval are other images for the same run. They show how far the count depends on
the images, and not how far it would differ in another training.
"""

import numpy as np

from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.estimators.base import Images
from owdfa.records.estimate import Curve


def check_method(method: Settings | None) -> float:
    """The coverage by which a method prunes.

    Raises:
        UserError: There is none that was to find the number of classes, or it does not prune.
    """
    coverage = getattr(method, "coverage", None)
    if coverage is None:
        raise UserError(
            "estimator dpp: counts the prototypes of a run that pruned them; train one with"
            " --method cal --classes auto, and name it with --classes-from"
        )
    return float(coverage)


def curve(images: Images, max_classes: int, seed: int) -> Curve:  # noqa: ARG001
    """Rank the novel prototypes by the images that go to them, and keep the first by the rule."""
    import torch

    from owdfa.dpp import num_to_keep

    found = images.found
    coverage = check_method(found and found.method)
    assert found is not None
    usage = np.bincount(found.predicted, minlength=found.num_active)[found.num_known :]
    ranked = np.sort(usage)[::-1].copy()
    shares = np.concatenate([[0], ranked.cumsum()]) / max(1, ranked.sum())
    kept = range(len(ranked) + 1)
    return Curve(
        "novel prototypes",
        "share of the novel predictions",
        tuple(kept),
        tuple(shares.tolist()),
        tuple(found.num_known + number for number in kept),
        chosen=num_to_keep(torch.from_numpy(ranked), coverage),
    )
