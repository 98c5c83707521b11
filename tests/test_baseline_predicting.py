"""The plain loop that prediction is measured against says the same."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.baseline import predicting as plain
from benchmarks.baseline.reading import frontal_faces
from benchmarks.predict import random_run
from owdfa.records.predictions import Predictions
from owdfa.stages.predict import predict


@pytest.mark.parametrize("faces", ["none", "dlib"])
def test_the_plain_loop_says_the_same(tmp_path, faces):
    random_run(tmp_path / "run", "tiny/trace8w16", 32, faces)
    paths = []
    for i in range(5):
        coarse = np.random.default_rng(i).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        paths.append(tmp_path / f"{i}.jpg")
        Image.fromarray(coarse).resize((120 + i, 90), Image.Resampling.BICUBIC).save(paths[-1])
    detector = frontal_faces() if faces == "dlib" else None
    network = plain.plain_network(tmp_path / "run")
    theirs = plain.predict(paths, network, size=32, detector=detector, batch_size=2)
    predict(tmp_path / "run", paths, tmp_path / "p.parquet")
    ours = Predictions.read(tmp_path / "p.parquet").table.to_pylist()
    for one, other in zip(theirs, ours, strict=True):
        assert (one.path, one.index) == (other["id"], other["index"])
        assert one.confidence == pytest.approx(other["confidence"], rel=1e-4)
        assert one.top_index == other["top_index"]
        assert one.top_probability == pytest.approx(other["top_probability"], rel=1e-4)
        scale = np.abs(one.embedding).max()
        assert one.embedding == pytest.approx(other["embedding"], abs=1e-4 * scale)
