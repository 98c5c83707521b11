"""Scores of the release's evaluation, to 1e-9."""

import numpy as np
import pytest

from owdfa.metrics.calibration import calibration
from owdfa.metrics.clustering import contingency
from owdfa.metrics.conventions import score_conventions
from reference.recordings import cases


@pytest.mark.parametrize("case", cases("metrics"), ids=repr)
def test_the_papers_convention(case):
    labels, predictions = case.arrays["label"], case.arrays["pred"]
    num_known = case.note["num_known"]
    shape = tuple(max(int(each.max()) + 1, num_known) for each in (labels, predictions))
    found = score_conventions(contingency(labels, predictions, shape), num_known).paper
    for part, agreement in found._asdict().items():
        for name, value in agreement._asdict().items():
            assert value == pytest.approx(case.note[f"{part}_{name}"], rel=0, abs=1e-9), part + name


@pytest.mark.parametrize("case", cases("metrics"), ids=repr)
def test_uncertainty_is_one_minus_the_mean_confidence(case):
    confidence = case.arrays["conf"]
    found = calibration(confidence, np.zeros(len(confidence), dtype=bool))
    assert 1 - found.mean_confidence == pytest.approx(case.note["val_uncert"], rel=0, abs=1e-9)
