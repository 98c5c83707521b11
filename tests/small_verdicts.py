"""A case with a verdict of every kind, and names that would do harm in a page."""

from PIL import Image

from owdfa.case import Attributed, Case
from owdfa.records.calibration import ReliabilityBin, Threshold
from owdfa.records.verdict import (
    Alternative,
    Box,
    OperatingPoint,
    Outcome,
    PredictionSet,
    Track,
    TrackFrame,
    Variant,
    Video,
)
from small_case import ATTRIBUTION, CALIBRATION, attributed

HOSTILE = '"><img src=x onerror=alert(1)>'
"""A name that would be an element, were it not escaped."""
POINT = OperatingPoint(statement="class", threshold=0.8, budget=0.01, bound=0.03, confidence=0.95)
KINDS = {
    "a.png": (Outcome(kind="known", name="swap"), 0.97),
    "b.png": (Outcome(kind="family", name="forged"), 0.93),
    "c.png": (Outcome(kind="novel"), 0.88),
    "d.png": (Outcome(kind="novel", name="novel-01"), 0.91),
    "e.png": (Outcome(kind="real-consistent"), 0.9996),
    "f.png": (Outcome(kind="inconclusive", reason="unsure"), None),
    "g.png": (
        Outcome(kind="inconclusive", reason="unstable", detail="known:swap, but real-consistent"),
        None,
    ),
    "h.png": (Outcome(kind="not-applicable", reason="no-face"), None),
}
"""Outcome and probability by name of the file."""


def make(folder):
    """Make a case beside its files; return it.

    Besides ``KINDS``: ``two.png`` has two faces, ``clip.mp4`` is a video, and one has a name that
    would do harm.
    """
    inputs = folder / "inputs"
    inputs.mkdir(parents=True)
    found = [say(inputs / name, *what) for name, what in KINDS.items()]
    found += [_two_faces(inputs / "two.png"), _clip(inputs / "clip.mp4"), _hostile(inputs)]
    case = Case.create(folder / "case", who="ann")
    case.add(found[:6], calibrated(), command=["owdfa", "attribute"], who="ann")
    case.add(found[6:], calibrated(), who=f"bob{HOSTILE}")
    return case


def calibrated():
    """What the verdicts rest on."""
    thresholds = tuple(
        Threshold(statement=name, threshold=0.8, budget=0.01, bound=0.03, confidence=0.95,
                  num_groups=99, num_wronged=0, recall=0.7)
        for name in ("class", "forged", "real")
    )  # fmt: skip
    bins = tuple(
        ReliabilityBin(low=low, high=low + 0.2, count=10, confidence=low + 0.1, accuracy=low + 0.08)
        for low in (0.2, 0.4, 0.6, 0.8)
    )
    calibration = CALIBRATION.model_copy(
        update={"thresholds": thresholds, "reliability": bins, "notes": ("Few groups.",)}
    )
    return ATTRIBUTION.model_copy(update={"calibration": calibration})


def say(path, outcome, probability=None, **changes):
    """A picture, written where there is none, and a verdict of it."""
    if not path.exists():
        Image.new("RGB", (160, 120), f"#{abs(hash_of(path.name)) % 0xFFFFFF:06x}").save(path)
    found = attributed(path, outcome=outcome, sentence=f"In words: {outcome.brief}.")
    (verdict,) = found.verdict.verdicts
    accuses = outcome.accuses
    likeliest = (("swap", False, 0.62), ("novel-01", True, 0.25), ("real", False, 0.13))
    verdict = verdict.model_copy(
        update={
            "probability": probability,
            "operating_point": POINT if probability else None,
            "accusation_point": POINT if accuses else None,
            "alternatives": ()
            if outcome.kind == "not-applicable"
            else tuple(Alternative(name=n, novel=new, probability=p) for n, new, p in likeliest),
            "prediction_set": PredictionSet(classes=("swap",), coverage=0.9),
            "ratio_class": "swap" if accuses else None,
            "log10_ratio": 2.5 if accuses else None,
            "stability": (Variant(change="jpeg-75", outcome=outcome, probability=0.9),)
            if probability
            else (),
            **changes,
        }
    )
    update = {"verdicts": (verdict,), "width": 160, "height": 120, "attribution": digest()}
    return Attributed(found.verdict.model_copy(update=update), path)


def digest():
    """Of what the verdicts rest on."""
    return calibrated().digest


def hash_of(name):
    """A number for a name, the same in every process."""
    return int.from_bytes(name.encode()[:8], "big") * 2654435761


def _two_faces(path):
    outcome = Outcome(kind="known", name="swap")
    found = say(path, outcome, 0.97, box=Box(left=10, top=20, right=60, bottom=80, score=0.9))
    second = say(path, Outcome(kind="real-consistent"), 0.95,
                 box=Box(left=90, top=20, right=140, bottom=80, score=0.8))  # fmt: skip
    both = (*found.verdict.verdicts, *second.verdict.verdicts)
    return Attributed(found.verdict.model_copy(update={"verdicts": both}), path)


def _clip(path):
    path.write_bytes(b"no video at all")
    frames = tuple(
        TrackFrame(time=0.2 * n, box=None, probability=0.5 + 0.04 * (n % 10)) for n in range(25)
    )
    track = Track(shown=1.0, num_used=25, frames=frames)
    found = say(path, Outcome(kind="novel"), 0.85, track=track)
    video = Video(codec="h264", duration=5.0, num_frames=125, num_sampled=25, decoder="PyAV 16",
                  notes=("frames after 5 s were left out",))  # fmt: skip
    changes = {"video": video, "format": "MOV"}
    return Attributed(found.verdict.model_copy(update=changes), path)


def _hostile(inputs):
    path = inputs / "harm.png"
    found = say(path, Outcome(kind="known", name=HOSTILE), 0.9)
    return Attributed(found.verdict.model_copy(update={"path": f"{HOSTILE}.png"}), path)
