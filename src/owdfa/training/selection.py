"""Which epoch's weights predict: the last, the best on held-back known classes, or the oracle's."""

from collections.abc import Callable

import numpy as np

from owdfa.errors import UserError
from owdfa.images.store import Store
from owdfa.loading.views import PlainView
from owdfa.methods.base import Method
from owdfa.metrics.clustering import contingency
from owdfa.metrics.conventions import score_conventions
from owdfa.records.split import Split
from owdfa.runs.settings import RunSettings
from owdfa.training.evaluation import evaluate

Evaluator = Callable[[Method], float]

LOGGED_AS = {"validation": "validation_accuracy", "oracle": "oracle_all_acc"}


def make_evaluator(
    settings: RunSettings, split: Split, store: Store, view: PlainView
) -> Evaluator | None:
    """What measures a method for the rule ``settings.selection``; None for ``last``.

    ``validation`` is the accuracy on held-back labelled images of known classes. ``oracle`` is All
    ACC of the paper convention on the test images: it uses test labels, as the releases do.

    Raises:
        UserError: The split has no images for the rule.
    """
    selection = settings.selection
    if selection == "last":
        return None
    if selection == "validation":
        ids, truth = split.validation_rows()
        if not ids:
            raise UserError(
                "selection validation: the split holds no validation images; split again with"
                " --validation 0.1, or take selection=last"
            )
    else:
        ids, truth = _test_truth(split)

    def evaluator(method: Method) -> float:
        probabilities = evaluate(method, store, ids, view, settings).probabilities
        predicted = probabilities.argmax(axis=1)
        if selection == "validation":
            return float((predicted == truth).mean())
        shape = (len(split.known) + len(split.novel), method.num_active)
        table = contingency(truth, predicted, shape)
        return score_conventions(table, len(split.known)).paper.all.acc

    return evaluator


def _test_truth(split: Split) -> tuple[list[str], np.ndarray]:
    """Test images of which the class is known, and its index: known classes first, then novel."""
    rows = split.with_role("test")
    index = {name: i for i, name in enumerate((*split.known, *split.novel))}
    pairs = [
        (id_, index[class_])
        for id_, class_ in zip(rows["id"].to_pylist(), rows["class"].to_pylist(), strict=True)
        if class_ in index
    ]
    if not pairs:
        raise UserError("selection oracle: the split holds no test images with a class")
    return [id_ for id_, _ in pairs], np.array([i for _, i in pairs], dtype=np.int64)
