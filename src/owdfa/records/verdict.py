"""Verdicts: what may be said of an image, or of each face in it, and how surely.

``verdicts.jsonl`` holds one ``FileVerdict`` a line, one line an input file, in the order in which
they were named. What every line rests on is said once, in an ``Attribution``; a line names its
digest.

Each file has a verdict or more: one a face where the run has a detector, else one of the whole
image. One that cannot be used has one too, ``not-applicable`` with the reason. An outcome in words
is ``known:<class>``, ``family:<family>``, ``novel:<type>``, ``novel``, ``real-consistent``,
``inconclusive`` or ``not-applicable``. No outcome says that an image is authentic.

Of a video there is a verdict for each track: the frames in which a face was found again, or all
frames where the run has no detector.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from owdfa.config import Settings
from owdfa.records.calibration import Calibration
from owdfa.records.provenance import Provenance

Kind = Literal["known", "family", "novel", "real-consistent", "inconclusive", "not-applicable"]
"""What is said: made by a known class; by some class of a family, ``forged`` being the family of
all that are not real; by none that is known; like the real images; nothing sure; nothing at all."""

Reason = Literal[
    "unsure",  # inconclusive: no statement passes its threshold
    "unstable",  # inconclusive: mild re-encoding changes the verdict
    "undecodable",  # not-applicable from here on: no image, empty, damaged or encrypted
    "no-face",  # most images of the run have a face, and the detector found none
    "too-small",  # the face, or the whole image
    "too-compressed",
    "not-of-domain",  # no picture: what is looked at has nearly one colour
]
FORGED = "forged"
"""The family of everything that is not real."""


class Outcome(Settings):
    """What is said of a face or an image."""

    kind: Kind
    name: str | None = None
    """The class, family or novel type; None where the kind has none, or none is sure."""
    reason: Reason | None = None
    """Of an inconclusive or not-applicable one."""
    detail: str | None = None
    """More of the reason, for a reader: what was measured, or what it turned into."""

    @property
    def label(self) -> str:
        """In a word, e.g. ``known:faceswap``, ``novel``, ``inconclusive``."""
        return f"{self.kind}:{self.name}" if self.name is not None else self.kind

    @property
    def brief(self) -> str:
        """The same with the reason, e.g. ``inconclusive (unstable)``."""
        return self.label if self.reason is None else f"{self.label} ({self.reason})"

    @property
    def accuses(self) -> bool:
        """Whether it says that the image is no plain photograph."""
        return self.kind in ("known", "family", "novel")


class Box(Settings):
    """A face in pixels of the upright image; it may reach beyond the edges."""

    left: int
    top: int
    right: int
    """Exclusive, as ``bottom``."""
    bottom: int
    score: float
    """The detector's; larger is more confident."""


class OperatingPoint(Settings):
    """The threshold that the statement passed, and what that is worth; see ``Calibration``."""

    statement: str
    """Name of the threshold: class, family, novel, forged or real."""
    threshold: float
    """The probability was above it."""
    budget: float
    """Share of groups of which the statement may be false, as it was asked for."""
    bound: float
    """Share that the held-out groups support; larger than the budget where they are too few."""
    confidence: float
    """With which the bound holds."""


class Alternative(Settings):
    """A class, known or of the run's own making, and its probability."""

    name: str
    novel: bool
    probability: float


class PredictionSet(Settings):
    """The known classes that are not excluded at ``coverage``; empty: none of them fits."""

    classes: tuple[str, ...]
    coverage: float
    """Of images of known classes, like those held out, at least this share have theirs in it."""


class Variant(Settings):
    """What becomes of the statement after a mild change of the file."""

    change: str
    """``jpeg-75`` (saved as JPEG of that quality) or ``half-size`` (half as wide and high)."""
    outcome: Outcome
    """The most particular statement that is then more likely than not."""
    probability: float | None
    """Of that statement, calibrated; None where there is none."""


class TrackFrame(Settings):
    """A frame in which a track was seen."""

    time: float
    """In seconds from the first frame of the video."""
    box: Box | None
    """The face; None for the whole frame."""
    probability: float | None
    """Calibrated, in this frame alone, of the verdict's statement, or of the first of its
    alternatives where none is made; None where the face is too small to be used."""


class Track(Settings):
    """One face through a video, or all of its frames."""

    shown: float
    """Time of the frame that ``box``, ``size`` and ``blur`` of the verdict are of: where the face
    is largest."""
    num_used: int
    """Frames that the verdict is of."""
    frames: tuple[TrackFrame, ...]
    """In order of time; never empty."""


class Video(Settings):
    """What is known of a video file."""

    codec: str
    duration: float | None
    """In seconds, as the file says; None where it does not."""
    num_frames: int
    """That were decoded."""
    num_sampled: int
    """That were looked at."""
    decoder: str
    """What decoded them, and its version."""
    notes: tuple[str, ...]
    """What was left out, and why."""


class Verdict(Settings):
    """What is said of one face, or of a whole image; of a track, where the file is a video."""

    box: Box | None
    """The face; None for the whole image. Of a track: where it is largest."""
    size: int | None
    """Shorter side in pixels of what was looked at: the face's box, or the image."""
    blur: float | None
    """Sharpness: variance of the Laplacian of the crop's luminance; less is more blurred."""
    outcome: Outcome
    probability: float | None
    """Calibrated, of the statement; None where none is made."""
    operating_point: OperatingPoint | None
    """Of the statement; None where none is made."""
    accusation_point: OperatingPoint | None
    """Of "it is not real", which an accusing statement needs too, where real images are known."""
    alternatives: tuple[Alternative, ...]
    """The five likeliest classes, the most probable first."""
    prediction_set: PredictionSet | None
    ratio_class: str | None = None
    """The known class with the greatest likelihood ratio; None where the method gives none."""
    log10_ratio: float | None = None
    """Its ratio against the best other explanation, another class or one that nobody has seen: the
    logarithm to base 10."""
    stability: tuple[Variant, ...]
    sentence: str
    """The same in plain words."""
    track: Track | None = None
    """Of a video, where it was looked at."""


class FileVerdict(Settings):
    """A line: one input file."""

    schema_: Literal["owdfa/verdict/1"] = Field(default="owdfa/verdict/1", alias="schema")
    path: str
    """As it was named, or below the folder that was named."""
    sha256: str | None
    """Of the content; None where it cannot be read."""
    num_bytes: int | None
    format: str | None
    """By the content: ``"JPEG"``, ``"MOV"``, ...; None where it is neither image nor video."""
    width: int | None
    """In pixels, upright."""
    height: int | None
    jpeg_quality: int | None
    """1 to 100, estimated from the file's tables; None for other formats."""
    verdicts: tuple[Verdict, ...]
    """One a face, from left to right, or one of the whole image; one a track of a video, from the
    first seen on. Never empty."""
    attribution: str
    """Digest of the ``Attribution`` that it rests on."""
    video: Video | None = None
    """None for an image."""

    @property
    def outcome(self) -> Outcome:
        """Of the file.

        The surest accusing verdict if there is one; else an inconclusive one; else a
        real-consistent one; else why none is possible.
        """
        order = ("not-applicable", "real-consistent", "inconclusive")

        def weight(verdict: Verdict) -> tuple[int, float]:
            kind = verdict.outcome.kind
            rank = order.index(kind) if kind in order else len(order)
            return rank, verdict.probability or 0.0

        return max(self.verdicts, key=weight).outcome


class Attribution(Settings):
    """What verdicts rest on: the network, how crops are made, and its calibration."""

    schema_: Literal["owdfa/attribution/1"] = Field(default="owdfa/attribution/1", alias="schema")
    run: str
    """The run folder, or the exported file."""
    classes: tuple[str, ...]
    """Names by index: the known ones, then novel-01, ..."""
    num_known: int
    engine: str
    """The library that computed, and its version."""
    decoder: str
    faces: str
    """Name of the face detector; ``none``: verdicts are of whole images."""
    store_size: int
    fit: Literal["resize", "native"]
    """How a crop gets its size."""
    min_size: int
    """Shorter side in pixels that a face, or a whole image, must have."""
    min_quality: int
    """Estimated quality that a JPEG file must have."""
    frame_interval: float = 0.2
    """Seconds between the frames of a video that are looked at."""
    calibration: Calibration
    provenance: Provenance
    """Of the network; ``precision`` is what was computed in."""
    version: str
    """Of owdfa."""

    @property
    def digest(self) -> str:
        """SHA-256 of it as JSON, without the place of the run: the same after it was moved."""
        return attribution_digest(self.model_dump(by_alias=True, mode="json"))


def attribution_digest(values: Mapping[str, Any]) -> str:
    """``Attribution.digest`` of one as JSON has it.

    One that was written has the digest that it was written with, whatever later versions add to it.
    """
    kept = {name: value for name, value in values.items() if name != "run"}
    text = json.dumps(kept, sort_keys=True)  # whatever order a journal keeps names in
    return hashlib.sha256(text.encode()).hexdigest()
