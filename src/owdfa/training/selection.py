"""Which epoch's weights predict: the last, the best on held-back known classes, or the oracle's."""

from collections.abc import Callable

import numpy as np
from lightning_fabric import Fabric

from owdfa.errors import UserError
from owdfa.images.store import Store
from owdfa.images.views import PlainView
from owdfa.loader import plain_batches
from owdfa.methods.base import Method
from owdfa.metrics.clustering import contingency
from owdfa.metrics.conventions import score_conventions
from owdfa.records.split import Split
from owdfa.runs.settings import Selection
from owdfa.training.inference import answer

Judge = Callable[[Method, Fabric], float]

LOGGED_AS = {"validation": "validation_accuracy", "oracle": "oracle_all_acc"}


def judge_for(
    selection: Selection, split: Split, store: Store, view: PlainView, batch_size: int
) -> Judge | None:
    """What measures a method for the rule ``selection``; greater is better; None for ``last``.

    ``validation`` is the accuracy on held-back labelled images of known classes. ``oracle`` is All
    ACC of the paper convention on the test images: it looks at test labels, as the releases do.

    Raises:
        UserError: The split has no images for the rule.
    """
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

    def judge(method: Method, fabric: Fabric) -> float:
        batches = plain_batches(store, ids, view, batch_size=batch_size)
        guesses = [a.probabilities.argmax(dim=1).numpy() for a in answer(method, batches, fabric)]
        guess = np.concatenate(guesses)
        if selection == "validation":
            return float((guess == truth).mean())
        table = contingency(truth, guess, (len(split.known) + len(split.novel), method.num_live))
        return score_conventions(table, len(split.known)).paper.all.acc

    return judge


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
