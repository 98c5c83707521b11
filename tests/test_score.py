import doctest
import json
from dataclasses import replace
from importlib import import_module

import numpy as np
import pyarrow as pa
import pytest

from owdfa.errors import UserError
from owdfa.files import write_table
from owdfa.records.predictions import SCHEMA as COLUMNS
from owdfa.records.predictions import PredictionMetadata, Predictions
from owdfa.records.provenance import Provenance
from owdfa.records.scores import Scores
from owdfa.records.split import SCHEMA as ROWS
from owdfa.records.split import Basis, Split
from owdfa.stages.score import score

KNOWN, NOVEL = ("real", "swap-1"), ("edit-1", "swap-2")
RATIOS = ("log_ratio", "known_log_ratio", "known_index", "unseen_log_ratio")
CLASSES = [*KNOWN, "novel-01", "novel-02", "novel-03"]
# true class, predicted index, confidence: swap-2 is split, and half of it is taken for real
TEST = [
    *[("real", 0, 0.9)] * 4,
    ("real", 1, 0.6),
    *[("swap-1", 1, 0.8)] * 3,
    ("swap-1", 3, 0.4),
    *[("edit-1", 2, 0.7)] * 3,
    *[("swap-2", 0, 0.5)] * 2,
    *[("swap-2", 3, 0.3)] * 2,
]


def rows_of(images, role="test"):
    """Split rows of (class, ...) tuples."""
    ids = [f"{role}/{i:03d}.png" for i in range(len(images))]
    classes = [image[0] for image in images]
    return pa.table([ids, [role] * len(images), classes, ids, ids], schema=ROWS)


def write_split(folder, *tables):
    table = pa.concat_tables(tables).sort_by("id")
    basis = Basis("images.parquet", "m", "lab/p1", "group", 11, 0.75, 0.2, 0.0)
    made = Split(table, KNOWN, NOVEL, basis)
    made.write(folder)
    return made


def write_predictions(path, ids, predicted, /, **changes):
    """Write predictions of (class, index, confidence) tuples; the class does not enter."""
    index = [image[1] for image in predicted]
    columns = {
        "id": ids,
        "prediction": [CLASSES[i] if i < len(CLASSES) else "?" for i in index],
        "index": index,
        "confidence": [image[2] for image in predicted],
        "novel": [i >= len(KNOWN) for i in index],
        "known_probability": [
            1 - image[2] if image[1] >= len(KNOWN) else image[2] for image in predicted
        ],
        "top_index": [[i] for i in index],
        "top_probability": [[image[2]] for image in predicted],
        "embedding": [[0.0]] * len(predicted),
        **dict.fromkeys(RATIOS, [None] * len(predicted)),
        **changes.pop("columns", {}),
    }
    made = provenance(changes.pop("split_digest", None))
    metadata = {
        "run": "run", "images": "split:test", "images_digest": None, "classes": CLASSES,
        "num_known": 2, "engine": "none 1.0", "provenance": made, **changes,
    }  # fmt: skip
    metadata = PredictionMetadata.model_validate(metadata)
    Predictions(pa.table(columns, schema=COLUMNS), metadata).write(path)
    return path


def provenance(split_digest=None):
    return Provenance(
        method="cal", backbone="tiny/trace8w16", seed=5, selection="last",
        split_digest=split_digest, weights_digest="w", precision="32-true", commit="c0ffee",
        environment={"python": "3.11"},
    )  # fmt: skip


@pytest.fixture
def files(tmp_path):
    made = write_split(tmp_path / "split", rows_of(TEST), rows_of([("real",)] * 3, "labelled"))
    ids = made.with_role("test")["id"].to_pylist()
    path = tmp_path / "predictions.parquet"
    return write_predictions(path, ids, TEST, split_digest=made.digest()), tmp_path / "split"


def test_every_number_of_a_small_case(files):
    found = score(*files)
    assert found.num_images == {
        "all": 16,
        "known": 9,
        "novel": 7,
        "without_truth": 0,
        "not_predicted": 0,
    }
    paper, gcd = found.conventions["paper"], found.conventions["gcd-v2"]
    accuracies = {k: v["acc"] for k, v in paper.items()}
    assert accuracies == {"all": 12 / 16, "known": 7 / 9, "novel": 5 / 7}
    assert {k: v["acc"] for k, v in gcd.items()} == {"all": 12 / 16, "known": 7 / 9, "novel": 5 / 7}
    assert {k: v["nmi"] for k, v in paper.items()} == {k: v["nmi"] for k, v in gcd.items()}
    assert found.num_classes == {"true": 4, "in_use": 4, "active": 5}
    assert found.num_novel == {"true": 2, "discovered": 1}  # swap-2: half is no majority
    assert found.novel_given_to_known == 2 / 7
    assert found.known_given_to_novel == 1 / 9
    assert found.calibration["accuracy"] == 12 / 16
    assert found.calibration["mean_confidence"] == pytest.approx(np.mean([i[2] for i in TEST]))
    assert found.confusion == {
        "rows": ["real", "swap-1", "edit-1", "swap-2"],
        "columns": ["real", "swap-1", "novel-01", "novel-02"],
        "counts": [[4, 1, 0, 0], [0, 3, 0, 1], [0, 0, 3, 0], [2, 0, 0, 2]],
    }
    assert found.per_class[3] == {
        "class": "swap-2",
        "novel": True,
        "num_images": 4,
        "acc_paper": 0.5,
        "acc_gcd_v2": 0.5,
        "matched_to": "novel-02",
    }
    digest = Split.read(files[1]).digest()
    assert (found.run, found.images, found.engine) == ("run", "split:test", "none 1.0")
    assert found.split == {"digest": digest, "rule": "group", "protocol": "lab/p1", "seed": 11}
    assert found.provenance == provenance(digest)


def test_absorbed_novel_classes_are_seen(files, tmp_path):
    """All of edit-1 taken for swap-1: the paper's Novel ACC stays, the other numbers fall."""
    ids = Split.read(files[1]).with_role("test")["id"].to_pylist()
    images = [(c, 1, p) if c == "edit-1" else (c, i, p) for c, i, p in TEST]
    before = score(*files)
    after = score(write_predictions(tmp_path / "absorbed.parquet", ids, images), files[1])
    novel = [scores.conventions["paper"]["novel"]["acc"] for scores in (before, after)]
    assert novel[0] == novel[1]
    assert after.novel_given_to_known == 5 / 7
    assert after.num_novel["discovered"] == 0
    assert after.conventions["gcd-v2"]["all"]["acc"] < before.conventions["gcd-v2"]["all"]["acc"]


def test_written_scores_can_be_read(files, tmp_path):
    place = tmp_path / "scores.json"
    found = score(*files, place)
    assert Scores.read(place) == found
    assert json.loads(place.read_text())["schema"] == "owdfa/scores/3"
    assert score(*files, place) == found


def test_the_order_of_predictions_does_not_matter(files, tmp_path):
    made = Predictions.read(files[0])
    order = np.random.default_rng(0).permutation(len(made.table))
    mixed = tmp_path / "mixed.parquet"
    replace(made, table=made.table.take(pa.array(order))).write(mixed)
    assert score(mixed, files[1]) == score(*files)


def test_what_has_no_truth_or_no_prediction_is_left_out_and_counted(files, tmp_path):
    ids = Split.read(files[1]).with_role("test")["id"].to_pylist()
    ids = [*ids[:-2], "elsewhere/a.png", "labelled/000.png"]
    found = score(write_predictions(tmp_path / "part.parquet", ids, TEST), files[1])
    assert found.num_images["without_truth"] == 2
    assert found.num_images["not_predicted"] == 2
    assert found.num_images["all"] == len(TEST) - 2


def test_another_role_and_images_that_nobody_labelled(tmp_path):
    images = [("real", 0, 0.5), (None, 1, 0.5), ("edit-1", 4, 0.5)]
    made = write_split(tmp_path / "split", rows_of(images, "unlabelled"), rows_of(TEST))
    ids = made.with_role("unlabelled")["id"].to_pylist()
    path = tmp_path / "predictions.parquet"
    write_predictions(path, ids, images, images="split:unlabelled")
    found = score(path, tmp_path / "split")
    assert found.num_images["all"] == 2
    assert found.num_images["without_truth"] == 1
    assert found.conventions["gcd-v2"]["all"]["acc"] == 1.0
    assert found.num_classes["true"] == 2


def test_without_novel_images_their_scores_are_zero(tmp_path):
    images = [("real", 0, 0.5), ("swap-1", 1, 0.5)]
    made = write_split(tmp_path / "split", rows_of(images))
    path = tmp_path / "predictions.parquet"
    found = score(write_predictions(path, made.table["id"], images), tmp_path / "split")
    for convention in found.conventions.values():
        assert convention["novel"] == {"acc": 0.0, "nmi": 0.0, "ari": 0.0}
        assert convention["known"]["acc"] == 1.0
    assert found.novel_given_to_known == 0.0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images_digest": "1" * 64}, "was trained on split 111111111111, but .* give --split"),
        ({"split_digest": "0" * 64}, "was trained on split 000000000000, but .* give --split"),
        ({"classes": ["swap-1", "real", *CLASSES[2:]]}, "knows other classes"),
        ({"num_known": 3}, "knows other classes"),
        ({"images": "split:labelled"}, "none of its 16 images is a labelled image"),
        ({"classes": CLASSES[:3]}, "predicts a class that its run has not"),
    ],
)
def test_predictions_that_do_not_belong_to_the_split(files, tmp_path, changes, said):
    ids = Split.read(files[1]).with_role("test")["id"].to_pylist()
    path = write_predictions(tmp_path / "wrong.parquet", ids, TEST, **changes)
    with pytest.raises(UserError, match=said):
        score(path, files[1], tmp_path / "scores.json")
    assert not (tmp_path / "scores.json").exists()


@pytest.mark.parametrize("confidence", [1.5, -0.1, float("nan")])
def test_an_impossible_confidence(files, tmp_path, confidence):
    ids = Split.read(files[1]).with_role("test")["id"].to_pylist()
    images = [("real", 0, confidence), *TEST[1:]]
    with pytest.raises(UserError, match="a confidence is not between 0 and 1"):
        score(write_predictions(tmp_path / "wrong.parquet", ids, images), files[1])


def test_an_image_predicted_twice(files, tmp_path):
    ids = Split.read(files[1]).with_role("test")["id"].to_pylist()
    path = write_predictions(tmp_path / "twice.parquet", [*ids[:-1], ids[0]], TEST)
    with pytest.raises(UserError, match=f"image '{ids[0]}' is predicted twice"):
        score(path, files[1])


def test_files_that_are_not_what_they_should_be(files, tmp_path):
    with pytest.raises(UserError, match="no such file; predictions"):
        score(tmp_path / "none.parquet", files[1])
    with pytest.raises(UserError, match=r"is not predictions .*; it lacks column 'index'"):
        score(files[1] / "roles.parquet", files[1])
    with pytest.raises(UserError, match="is not what this command writes"):
        score(*files, files[1] / "split.json")
    other = tmp_path / "other.json"
    values = {**vars(score(*files)), "provenance": {}}
    other.write_text(json.dumps({"schema": "owdfa/scores/9", **values}))
    with pytest.raises(UserError, match="this version reads 'owdfa/scores/3'; score again"):
        Scores.read(other)
    older = {"schema": "owdfa/scores/1", "basis": {}}
    other.write_text(json.dumps(older))
    with pytest.raises(UserError, match=r"holds 'owdfa/scores/1', .*; score again"):
        Scores.read(other)
    made = Predictions.read(files[0])
    write_table(files[0], made.table, {"run": "run", "images": "split:test"})
    with pytest.raises(UserError, match=r"another version of owdfa; run owdfa predict again"):
        score(*files)


@pytest.mark.parametrize(
    "name",
    [
        "owdfa.stages.split.group_sampling",
        "owdfa.metrics.calibration",
        "owdfa.metrics.clustering",
        "owdfa.metrics.conventions",
        "owdfa.protocols",
        "owdfa.stages.split",
    ],
)
def test_examples_in_the_documentation(name):
    result = doctest.testmod(import_module(name))
    assert result.attempted
    assert result.failed == 0


def test_ratios_are_judged_by_whether_the_known_type_that_they_name_made_the_image(tmp_path):
    images = [("real", 0, 0.9), ("real", 0, 0.9), ("swap-1", 1, 0.9), ("edit-1", 2, 0.9)]
    write_split(tmp_path / "split", rows_of(images))
    columns = {"known_log_ratio": [2.0, 1.0, -0.5, 1.5], "known_index": [0, 1, 1, 0]}
    ids = rows_of(images)["id"].to_pylist()
    path = write_predictions(tmp_path / "p.parquet", ids, images, columns=columns)
    found = score(path, tmp_path / "split").ratios
    right, wrong = np.array([2.0, -0.5]), np.array([1.0, 1.5])
    cost = (np.log2(1 + 10.0**-right).mean() + np.log2(1 + 10.0**wrong).mean()) / 2
    assert found == {"cllr": pytest.approx(cost), "right": 2, "wrong": 2, "misled": 1.0}
    assert score(write_predictions(path, ids, images), tmp_path / "split").ratios is None
