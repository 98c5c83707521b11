"""Time and memory of fitting types to a large pile of embeddings.

    OMP_NUM_THREADS=2 python -m benchmarks.types [--images 1000000] [--dim 64]

20 known and 20 novel types, a fifth of the images labelled. Prints what it measured; on its own,
since it is of no use beside other work.
"""

import argparse
import resource
import time

import numpy as np

from owdfa.plda.fit import TypesSettings, fit

_KNOWN, _NOVEL = 20, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=64)
    options = parser.parse_args()
    stream = np.random.default_rng(0)
    num = _KNOWN + _NOVEL
    means = stream.normal(size=(num, options.dim)).astype(np.float32)
    truth = stream.integers(num, size=options.images)
    rows = stream.standard_normal((options.images, options.dim), dtype=np.float32)
    for first in range(0, options.images, 1 << 16):
        rows[first : first + (1 << 16)] += means[truth[first : first + (1 << 16)]]
    shown = (truth < _KNOWN) & (stream.random(options.images) < 0.4)
    labels = np.where(shown, truth, -1)
    start = time.perf_counter()
    model = fit(rows, labels, _KNOWN, TypesSettings())
    took = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    found = model.assign(rows[:10_000])
    known = truth[:10_000] < _KNOWN
    right = (found == truth[:10_000])[known].mean()
    print(
        f"{options.images:,} images of {options.dim} features: {took:.0f} s, peak {peak:.2f} GiB,"
        f" {model.mixture.num_types} types of {num}, {100 * right:.1f} % of known images right"
    )


if __name__ == "__main__":
    main()
