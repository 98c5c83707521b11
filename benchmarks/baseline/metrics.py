"""Scores as a plain author computes them: a table filled image by image, then scikit-learn.

Known is plain accuracy; All and Novel have a Hungarian match each; NMI and ARI are of the same
three sets.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score


def cluster_accuracy(true: np.ndarray, predicted: np.ndarray) -> float:
    """Share of images in the cluster of their class, under the best match of the two."""
    size = max(true.max(), predicted.max()) + 1
    table = np.zeros((size, size), dtype=np.int64)
    for i in range(len(true)):
        table[predicted[i], true[i]] += 1
    rows, columns = linear_sum_assignment(table.max() - table)
    return float(sum(table[i, j] for i, j in zip(rows, columns, strict=True)) / len(true))


def accuracy(true: np.ndarray, predicted: np.ndarray) -> float:
    """Share of images whose class is predicted."""
    right = 0
    for i in range(len(true)):
        if true[i] == predicted[i]:
            right += 1
    return right / len(true)


def scores(true: np.ndarray, predicted: np.ndarray, num_known: int) -> dict[str, dict[str, float]]:
    """Accuracy, NMI and ARI of all images, of the known classes' and of the novel ones'.

    Args:
        true: (images,) int64, the known classes first.
        predicted: (images,) int64.
        num_known: Classes below this are known.
    """
    known = true < num_known
    found = {}
    for name, chosen in (("all", known | True), ("known", known), ("novel", ~known)):
        classes, clusters = true[chosen], predicted[chosen]
        count = accuracy if name == "known" else cluster_accuracy
        found[name] = {
            "acc": count(classes, clusters),
            "nmi": float(normalized_mutual_info_score(classes, clusters)),
            "ari": float(adjusted_rand_score(classes, clusters)),
        }
    return found


def score_files(predictions: Path, split: Path, output: Path) -> dict[str, dict[str, float]]:
    """Join predictions with the truth by a dictionary, score, and write JSON."""
    note = json.loads((split / "split.json").read_text())
    index = {name: i for i, name in enumerate(note["known"] + note["novel"])}
    rows = pq.read_table(split / "roles.parquet").to_pylist()
    truth = {row["id"]: index[row["class"]] for row in rows if row["role"] == "test"}
    table = pq.read_table(predictions, columns=["id", "index"])
    true, predicted = [], []
    for row in table.to_pylist():
        true.append(truth[row["id"]])
        predicted.append(row["index"])
    found = scores(np.array(true), np.array(predicted), len(note["known"]))
    content: dict[str, Any] = {"split": note["digest"], "scores": found}
    output.write_text(json.dumps(content, indent=1))
    return found
