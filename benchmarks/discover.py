"""Time and memory of ``owdfa discover`` on a large case whose embeddings are there.

    OMP_NUM_THREADS=2 python -m benchmarks.discover [--images 100000] [--dim 512] [--types 40]

Sizes of types fall off as 1 / rank, and a tenth of the images is of none. The case is written by
hand: embeddings are drawn, and its images are some files again and again. Then groups are made
again, and one is named. Prints what it measured; on its own, since it is of no use beside other
work.
"""

import argparse
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.predict import random_run, write_files
from owdfa.case import Attributed, Case
from owdfa.discovery.density import ALONE
from owdfa.inference.embeddings import add_embeddings, embedding_digest
from owdfa.inference.predictor import Predictor
from owdfa.records.calibration import Calibration
from owdfa.records.clusters import Clusters
from owdfa.records.verdict import Alternative, Attribution, FileVerdict, Outcome, Verdict
from owdfa.stages.discover import discover
from owdfa.stages.review import Reviewer

_PART = 10_000


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
    return rows + means[truth], truth


def write_case(folder: Path, run: Path, embeddings: np.ndarray) -> list[str]:
    """Write a case of as many images, and return their names."""
    predictor, files = Predictor.open(run), sorted(write_files(folder / "photos", 64, 96).iterdir())
    attribution = attribution_of(predictor)
    names = [f"{number:064x}" for number in range(len(embeddings))]
    case = Case.create(folder / "case")
    for first in range(0, len(names), _PART):
        part = names[first : first + _PART]
        found = [said(name, files[int(name, 16) % 64], attribution) for name in part]
        case.add(found, attribution)
        rows = dict(zip(part, embeddings[first : first + _PART], strict=True))
        add_embeddings(case.folder, embedding_digest(predictor), rows)
    return names


def attribution_of(predictor: Predictor) -> Attribution:
    calibration = Calibration(
        known=predictor.classes, real=(), families={}, temperature=1.0, thresholds=(), coverage=0.9,
        set_threshold=0.5, num_images=1, num_groups=1, ece_before=0.0, ece=0.0, reliability=(),
        provenance=predictor.provenance,
    )  # fmt: skip
    return Attribution(
        run=str(predictor.source), classes=predictor.classes, num_known=predictor.num_known,
        engine=predictor.session.engine, decoder="none", faces="none", store_size=64, fit="resize",
        min_size=32, min_quality=0, calibration=calibration, provenance=predictor.provenance,
        version="0",
    )  # fmt: skip


def said(name: str, place: Path, attribution: Attribution) -> Attributed:
    likeliest = (Alternative(name=attribution.classes[0], novel=False, probability=0.4),)
    verdict = Verdict(
        box=None, size=96, blur=1.0, outcome=Outcome(kind="inconclusive", reason="unsure"),
        probability=None, operating_point=None, accusation_point=None, alternatives=likeliest,
        prediction_set=None, stability=(), sentence="Nothing sure can be said.",
    )  # fmt: skip
    file = FileVerdict(
        path=f"{name}.jpg", sha256=name, num_bytes=1, format="JPEG", width=96, height=96,
        jpeg_quality=75, verdicts=(verdict,), attribution=attribution.digest,
    )  # fmt: skip
    return Attributed(file, place)


def purity(found: Clusters, names: list[str], truth: np.ndarray) -> float:
    """Share of the images in a group that are of its commonest type, of those that have one."""
    type_of = dict(zip(names, truth.tolist(), strict=True))
    best = total = 0
    for each in found.clusters:
        counts = Counter(type_of[name] for name in each.members if type_of[name] != ALONE)
        best, total = best + max(counts.values(), default=0), total + counts.total()
    return best / max(total, 1)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--types", type=int, default=40)
    options = parser.parse_args(argv)
    embeddings, truth = make_pile(options.images, options.dim, options.types)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        random_run(folder / "run", "tiny/trace8w16", 64)
        names = write_case(folder, folder / "run", embeddings)
        times = [time.perf_counter()]
        found = discover(folder / "case")
        times.append(time.perf_counter())
        discover(folder / "case")
        times.append(time.perf_counter())
        Reviewer(folder / "case").name(found.clusters[0].id, "first")
        times.append(time.perf_counter())
    first, again, named = np.diff(times)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{options.images:,} images of {options.dim} features: discover {first:.0f} s, again"
        f" {again:.0f} s, a name {named:.1f} s, peak {peak:.2f} GiB; {len(found.clusters)} groups"
        f" of {options.types} types, purity {purity(found, names, truth):.3f},"
        f" {found.num_alone / options.images:.1%} in none"
    )


if __name__ == "__main__":
    main()
