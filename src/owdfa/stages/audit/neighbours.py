"""Near neighbours across a split: test images that lie nearer to training than chance would have.

What "near" is depends on the embedding, so the training images say it: how near is the most
similar training image of another group? A test image that is nearer to one than all but one in a
thousand of them is a candidate; of a split without leaks one in a thousand is one.
"""

from collections.abc import Iterator

import numpy as np

from owdfa.stages.audit.embedding import Embedding, nearest
from owdfa.stages.audit.findings import MAX_PAIRS, Finding, Pair
from owdfa.stages.audit.images import TEST, TRAINING, Images

_TAIL = 0.001  # of training images that are as near to one of another group
_MOST = 4_000  # training images that are asked
_MORE = 3.0  # standard deviations more candidates than by chance


def neighbours(images: Images, embedding: Embedding) -> Iterator[Finding]:
    """Test images that are very near to one that is trained on."""
    sides, groups = images.sides[embedding.rows], images.groups[embedding.rows]
    trained, tested = np.flatnonzero(sides == TRAINING), np.flatnonzero(sides == TEST)
    if len(trained) < 2 or not len(tested):
        return
    asked = trained[np.linspace(0, len(trained) - 1, min(_MOST, len(trained))).astype(np.int64)]
    vectors = embedding.vectors
    _, usual = nearest(vectors[asked], vectors[trained], (groups[asked], groups[trained]))
    usual = usual[np.isfinite(usual)]
    if not len(usual):  # all of training is one group
        return
    places, cosines = nearest(vectors[tested], vectors[trained])
    limit = float(np.quantile(usual, 1 - _TAIL))
    near = np.flatnonzero(cosines > limit)
    expected = _TAIL * len(tested)
    if len(near) <= expected + _MORE * np.sqrt(expected) + 1:
        return
    order = near[np.argsort(-cosines[near], kind="stable")]
    pairs = tuple(
        Pair(
            int(embedding.rows[tested[each]]),
            int(embedding.rows[trained[places[each]]]),
            f"cosine {cosines[each]:.4f}",
        )
        for each in order[:MAX_PAIRS]
    )
    line = (
        f"{len(near)} of {len(tested)} test images are nearer to one that is trained on (cosine"
        f" above {limit:.3f}) than all but {_TAIL:.1%} of training images are to one of another"
        f" group; by chance {expected:.0f} would be; see whether they are versions of one picture"
    )
    yield Finding("near neighbours on both sides", line, pairs=pairs)
