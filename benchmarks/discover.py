"""Time and memory of grouping a large pile of embeddings: the ids, stability and places included.

    OMP_NUM_THREADS=2 python -m benchmarks.discover [--images 100000] [--dim 512] [--types 40]

Sizes of types fall off as 1 / rank, and a tenth of the images is of none. Reading of files, and
embedding them, which ``attribute`` takes as long for, is not in it. Prints what it measured; on its
own, since it is of no use beside other work.
"""

import argparse
import resource
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np

from owdfa.discovery.density import ALONE, components, dense_groups_among, stability
from owdfa.discovery.matching import match_groups
from owdfa.stages.discover.describing import place_groups
from owdfa.whitening import unit_length


def make_pile(num: int, dim: int, num_types: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings, and the type of each or ``ALONE``."""
    stream = np.random.default_rng(0)
    odds = 1 / np.arange(1, num_types + 1)
    truth = stream.choice(num_types, num, p=odds / odds.sum())
    truth[stream.random(num) < 0.1] = ALONE
    means = stream.normal(size=(num_types + 1, dim)).astype(np.float32)
    means[ALONE] = 0
    rows = stream.standard_normal((num, dim), dtype=np.float32)
    rows[truth != ALONE] *= 0.7
    return unit_length(rows + means[truth]), truth


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--types", type=int, default=40)
    options = parser.parse_args(argv)
    embeddings, truth = make_pile(options.images, options.dim, options.types)
    names = [f"{number:064x}" for number in range(options.images)]
    start = time.perf_counter()
    rows = components(embeddings)
    found = dense_groups_among(rows, np.zeros(len(rows), bool), 5, 0)
    grouped = time.perf_counter() - start
    stability(rows, found, 5, 10, 0)
    members: list[list[str]] = [[] for _ in range(int(found.max(initial=ALONE)) + 1)]
    for name, group in zip(names, found.tolist(), strict=True):
        if group != ALONE:
            members[group].append(name)
    matched = match_groups([frozenset(each) for each in members], {}, {}, ())
    matched = match_groups([frozenset(each) for each in members], matched.members, {}, ())
    place_groups(
        {id_: sorted(images) for id_, images in matched.members.items()},
        {name: row for row, name in enumerate(names)},
        embeddings,
    )
    took = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    there = (truth != ALONE) & (found != ALONE)
    pairs = Counter(zip(found[there].tolist(), truth[there].tolist(), strict=True))
    best = Counter({g: max(n for (o, _), n in pairs.items() if o == g) for g, _ in pairs})
    print(
        f"{options.images:,} images of {options.dim} features: {took:.0f} s ({grouped:.0f} s to"
        f" group), peak {peak:.2f} GiB; {len(members)} groups of {options.types} types, purity"
        f" {best.total() / max(there.sum(), 1):.3f}, {(found == ALONE).mean():.1%} in none"
    )


if __name__ == "__main__":
    main()
