"""Number of types that the method ``plda`` finds: those that many clusterings agree on.

Nothing is tried and compared (:mod:`owdfa.plda.consensus`). How often images of one type must be
together is set by hiding known types; how well these were found again is the score.
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
    together = (made.calibration.together,)
    return Curve("share together", name, together, (score,), (made.mixture.num_types,))
