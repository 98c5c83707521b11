"""Number of types that the method ``plda`` finds: by splits and merges, each of them tested.

Nothing is tried and compared: it begins with too many types and merges those that a test does not
tell apart, then looks for further ones (:mod:`owdfa.plda.search`). How different two types must be
is set by hiding known types; how well these were found again is the score.
"""

import numpy as np

from owdfa.estimators.base import Images
from owdfa.plda.fit import TypesSettings, fit
from owdfa.records.estimate import Curve


def curve(images: Images, max_classes: int, seed: int) -> Curve:
    """Fit types to the images."""
    num_known = int(images.labels.max()) + 1
    settings = TypesSettings(max_types=max_classes)
    made = fit(images.rows.astype(np.float64), images.labels, num_known, settings, seed=seed)
    found = made.calibration.found
    score = 0.0 if found is None else (found.known + found.hidden) / 2
    name = "accuracy of known and of hidden known classes, mean"
    return Curve("least gain", name, (made.calibration.merge,), (score,), (made.mixture.num_types,))
