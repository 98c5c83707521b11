"""A case written by hand: verdicts of files that no network has seen."""

import hashlib

from owdfa.case import Attributed
from owdfa.records.calibration import Calibration
from owdfa.records.provenance import Provenance
from owdfa.records.verdict import Attribution, FileVerdict, Outcome, Verdict

PROVENANCE = Provenance(
    method="cal", backbone="timm/resnet18", seed=3, selection="last", split_digest="ab" * 32,
    weights_digest="cd" * 32, precision="32-true", commit="0123abc", environment={"python": "3"},
)  # fmt: skip
CALIBRATION = Calibration(
    known=("real", "swap"), real=("real",), families={"swap": "swap"}, temperature=1.25,
    thresholds=(), coverage=0.9, set_threshold=0.7, num_images=40, num_groups=20,
    ece_before=0.11, ece=0.02, reliability=(), provenance=PROVENANCE,
)  # fmt: skip
ATTRIBUTION = Attribution(
    run="runs/first", classes=("real", "swap", "novel-01"), num_known=2, engine="onnxruntime 1",
    decoder="Pillow 12", faces="none", store_size=16, fit="resize",
    min_size=8, min_quality=30, calibration=CALIBRATION,
    provenance=PROVENANCE, version="0.1.0",
)  # fmt: skip


def attributed(place, *, outcome=None, sentence="Nothing sure can be said."):
    """A file and a verdict of it."""
    data = place.read_bytes() if place.exists() else b""
    verdict = Verdict(
        box=None, size=64, blur=None,
        outcome=outcome or Outcome(kind="inconclusive", reason="unsure"), probability=0.5,
        operating_point=None, accusation_point=None, alternatives=(), prediction_set=None,
        stability=(), sentence=sentence,
    )  # fmt: skip
    file = FileVerdict(
        path=place.name, sha256=hashlib.sha256(data).hexdigest(), num_bytes=len(data),
        format="PNG", width=64, height=64, jpeg_quality=None, verdicts=(verdict,),
        attribution=ATTRIBUTION.digest,
    )  # fmt: skip
    return Attributed(file, place)
