"""A case of squares of a few colours, a network that sees their colour alone, and their groups."""

import hashlib

import numpy as np
from PIL import Image

from owdfa.case import Attributed, Case
from owdfa.case.review import discovered
from owdfa.inference.predictor import Predictor
from owdfa.inference.session import BatchOutput, no_ratios
from owdfa.records.clusters import Cluster, Clusters, Lineage
from owdfa.records.verdict import Alternative, Outcome
from small_case import ATTRIBUTION, PROVENANCE, attributed

COLOURS = {"red": (220, 30, 30), "green": (30, 220, 30), "blue": (30, 30, 220)}


class SeesColour:
    """Embeds a crop as its mean colour."""

    engine, batch_size = "test 1", 8

    def predict_batch(self, crops):
        rows = crops.mean(axis=(1, 2)).astype(np.float32) - 125
        return BatchOutput(np.full((len(crops), 3), 1 / 3, np.float32), rows, no_ratios(rows))


def predictor(weights="cd" * 32):
    return Predictor(
        source=ATTRIBUTION.run, classes=ATTRIBUTION.classes, num_known=2, faces="none",
        store_size=16, session=SeesColour(),
        provenance=PROVENANCE.model_copy(update={"weights_digest": weights}),
    )  # fmt: skip


def write_squares(folder, colour, numbers, *, suffix="png"):
    """Squares of nearly one colour."""
    files = []
    folder.mkdir(exist_ok=True)
    for number in numbers:
        stream = np.random.default_rng([number, *COLOURS[colour]])
        noise = stream.integers(-12, 12, (1, 1, 3)) + stream.integers(-20, 20, (32, 32, 3))
        path = folder / f"{colour}-{number:02d}.{suffix}"
        pixels = (np.array(COLOURS[colour]) + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path)
        files.append(path)
    return files


def said(path, kind="novel", *, known=0.2):
    """A file of which something is said."""
    found = attributed(path, outcome=Outcome(kind=kind, name="swap" if kind == "known" else None))
    (verdict,) = found.verdict.verdicts
    likeliest = (
        Alternative(name="novel-01", novel=True, probability=1 - known),
        Alternative(name="swap", novel=False, probability=known),
    )
    verdict = verdict.model_copy(update={"alternatives": likeliest})
    changes = {"verdicts": (verdict,), "path": str(path), "width": 32, "height": 32,
               "format": {"jpg": "JPEG"}.get(path.suffix[1:], "PNG")}  # fmt: skip
    return Attributed(found.verdict.model_copy(update=changes), path)


def add(case, files, kind="novel"):
    case.add([said(file, kind) for file in files], ATTRIBUTION)


def squares_case(folder):
    """A case of red and green squares of no known type, and of blue ones that are known."""
    made = Case.create(folder / "case")
    photos = folder / "photos"
    add(made, write_squares(photos, "red", range(12), suffix="jpg"))
    add(made, write_squares(photos, "green", range(9)), "inconclusive")
    add(made, write_squares(photos, "blue", range(8)), "known")
    (folder / "runs" / "first").mkdir(parents=True)
    return made


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def by_hand(folder, groups, *, who="ann"):
    """A case with groups that nothing found: names of images by id."""
    case = Case.create(folder, who=who)
    clusters = tuple(
        Cluster(
            id=id_, members=tuple(sorted(members)), lineage=Lineage(change="new"), stability=0.9,
            confidence=0.5, log10_ratio=None, nearest=None, central=(), borderline=(), traits=(),
            centre=(0.0,), spread=0.0,
        )
        for id_, members in groups.items()
    )  # fmt: skip
    made = Clusters(
        case=case.id, previous=case.head, by="density", min_size=5, num_parts=0, seed=0, run="r",
        provenance=PROVENANCE, embedding="0" * 16, num_images=9, num_alone=0, num_missing=0,
        num_videos=0, clusters=clusters, gone={},
    )  # fmt: skip
    discovered(case, lambda review: made, note={}, who=who)
    return case
