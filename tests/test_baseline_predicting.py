"""The plain loop that prediction is measured against says the same."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import predict as benchmark
from benchmarks.baseline import predicting as plain
from benchmarks.baseline.reading import frontal_faces
from owdfa.records.predictions import Predictions
from owdfa.stages.predict import predict


@pytest.mark.parametrize("faces", ["none", "dlib"])
def test_the_plain_loop_says_the_same(tmp_path, faces):
    case = benchmark.Case("tiny/trace8w16", 32, faces, 1.0, exported=False)
    run = benchmark.random_run(tmp_path / "run", case)
    paths = []
    for i in range(5):
        coarse = np.random.default_rng(i).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        paths.append(tmp_path / f"{i}.jpg")
        Image.fromarray(coarse).resize((120 + i, 90), Image.Resampling.BICUBIC).save(paths[-1])
    detector = frontal_faces() if faces == "dlib" else None
    method = plain.plain_cal(run.method())
    assert method.ffe is None  # its own, through an FFT
    theirs = plain.predict(paths, method, size=32, detector=detector, batch_size=2)
    predict(run.folder, paths, tmp_path / "p.parquet")
    ours = Predictions.read(tmp_path / "p.parquet").table.to_pylist()
    for one, other in zip(theirs, ours, strict=True):
        assert (one.path, one.index) == (other["id"], other["index"])
        assert one.confidence == pytest.approx(other["confidence"], rel=1e-5)
        assert one.top_index == other["top_index"]
        assert one.top_probability == pytest.approx(other["top_probability"], rel=1e-5)
        scale = np.abs(one.embedding).max()
        assert one.embedding == pytest.approx(other["embedding"], abs=1e-4 * scale)


@pytest.mark.slow
def test_the_benchmark_runs(tmp_path):
    num_threads = torch.get_num_threads()
    benchmark.main(["--quick"], tmp_path)
    assert torch.get_num_threads() == num_threads
    rows = json.loads((tmp_path / "predict.json").read_text())["comparisons"]
    assert [row["goal"] for row in rows] == [2, 1.3, None, None, None, 1.3, 1.3]
    assert all(min(row["baseline"]) > 0 and min(row["ours"]) > 0 for row in rows)
