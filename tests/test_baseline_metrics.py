"""The plain scores that ours are timed against are the same numbers."""

import json

import numpy as np
import pytest

from benchmarks import score as benchmark
from benchmarks.baseline import metrics as plain
from owdfa.stages.score import score, scores_of


@pytest.mark.parametrize("draw", [benchmark.draw, lambda *a: benchmark.merged(benchmark.draw(*a))])
@pytest.mark.parametrize(("num_images", "num_classes"), [(500, 12), (3000, 7), (40, 30)])
def test_plain_scores_are_ours(draw, num_images, num_classes):
    drawn = draw(num_images, num_classes)
    expected = plain.scores(drawn.true, drawn.predicted, drawn.num_known)
    found = scores_of(*benchmark.ready(drawn)).conventions["paper"]
    for part, numbers in expected.items():
        assert found[part] == pytest.approx(numbers, abs=1e-12)


def test_plain_scores_of_files_are_ours(tmp_path):
    benchmark.write_files(tmp_path, benchmark.draw(300, 8))
    files = tmp_path / "predictions.parquet", tmp_path / "split"
    expected = plain.score_files(*files, tmp_path / "plain.json")
    found = score(*files, tmp_path / "scores.json").conventions["paper"]
    for part, numbers in expected.items():
        assert found[part] == pytest.approx(numbers, abs=1e-12)
    assert json.loads((tmp_path / "plain.json").read_text())["scores"] == expected


def test_a_plain_accuracy_by_hand():
    true, predicted = np.array([0, 0, 1, 1, 2]), np.array([3, 3, 0, 3, 0])
    assert plain.cluster_accuracy(true, predicted) == 3 / 5
    assert plain.accuracy(true, np.array([0, 1, 1, 1, 0])) == 3 / 5


def test_the_benchmark_runs(tmp_path):
    arguments = ["--images", "200", "400", "--classes", "6", "--rounds", "1"]
    benchmark.main(arguments, tmp_path)
    found = json.loads((tmp_path / "score.json").read_text())
    assert len(found["comparisons"]) == 4
