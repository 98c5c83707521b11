"""An evidence report as one HTML file, without a script; its data is in it once more, as JSON."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from owdfa import pages
from owdfa.records.calibration import ReliabilityBin, Threshold
from owdfa.records.verdict import Attribution, FileVerdict, Kind, OperatingPoint, Verdict
from owdfa.stages.evidence.data import Gathered, InputEvidence
from owdfa.stages.evidence.footage import in_frames, timeline, video_facts
from owdfa.stages.report.wording import counted, percent

MARK = b'<meta name="generator" content="owdfa report (case)">'
DATA_START, DATA_END = '<script type="application/json" id="evidence">', "</script>"
_NONE = "\N{EN DASH}"
KINDS: dict[Kind, str] = {
    "known": "attributed to a known type",
    "family": "attributed to a family",
    "novel": "like no known type",
    "real-consistent": "consistent with real images",
    "inconclusive": "inconclusive",
    "not-applicable": "without a verdict",
}
"""What was found, after a number of files."""


class Bin(NamedTuple):
    """A point of the reliability plot."""

    images: int
    share: float  # of all images
    confidence: float
    accuracy: float


def render(gathered: Gathered) -> str:
    """Write the page."""
    evidence = gathered.evidence
    made = evidence.attributions.values()
    details = [each for each in evidence.inputs if each.faces]
    values = {
        "evidence": evidence,
        "pictures": gathered.pictures,
        "last": evidence.journal[-1],
        "headline": headline([each.file for each in evidence.inputs]),
        "oracles": sorted({each.provenance.oracle for each in made if each.provenance.is_oracle}),
        "num_detailed": len(details),
        "shortened": any(each.state == "same" and not each.faces for each in evidence.inputs),
        "versions": ", ".join(
            f"{name} {number}" for name, number in evidence.versions.items() if number
        ),
        "data": pages.embedded_json(evidence.model_dump_json(by_alias=True)),
        "plots": [],
    }
    return pages.render(__package__, "page.html", values, FILTERS)


def headline(files: Sequence[FileVerdict]) -> str:
    """What was found, in a line."""
    found = Counter(file.outcome.kind for file in files)
    parts = [f"{found[kind]:,} {text}" for kind, text in KINDS.items() if found[kind]]
    return f"{counted(len(files), 'file')}: {', '.join(parts)}" if parts else "No files"


def leading(file: FileVerdict) -> float | None:
    """Probability of the verdict that the file's is; None where that says nothing."""
    outcome = file.outcome
    if outcome.kind == "inconclusive":
        return None
    found = [each.probability for each in file.verdicts if each.outcome == outcome]
    return max((each for each in found if each is not None), default=None)


def _sure(probability: float | None) -> str:
    """A probability in per cent: never 0 or 100, which no network can know."""
    if probability is None:
        return percent(None)
    if probability >= 0.9995:
        return "> 99.9"
    return percent(probability) if probability >= 0.0005 else "< 0.1"


def _faces(file: FileVerdict) -> str:
    num = sum(verdict.box is not None for verdict in file.verdicts)
    return str(num) if num else _NONE


def _file_facts(found: InputEvidence) -> list[tuple[str, str]]:
    file = found.file
    parts = [
        file.format,
        f"quality about {file.jpeg_quality}" if file.jpeg_quality else None,
        f"{file.width} x {file.height} pixels" if file.width else None,
        None if file.num_bytes is None else f"{file.num_bytes:,} bytes",
    ]
    facts = [
        ("SHA-256", file.sha256),
        ("File", ", ".join(part for part in parts if part) or None),
        *video_facts(file.video),
        ("Added by line", str(found.line)),
        ("Earlier verdicts", _earlier(found.earlier)),
        *found.metadata,
    ]
    if found.state == "same" and not found.metadata:
        facts.append(("Metadata", "none of camera or software"))
    if found.credentials is not None:
        facts.append(("C2PA", found.credentials.sentence))
        facts += [(f"C2PA, {name[0].lower()}{name[1:]}", v) for name, v in found.credentials.claims]
        facts += [("C2PA, reason", each) for each in found.credentials.problems]
    return [(name, value) for name, value in facts if value is not None]


def _earlier(lines: Sequence[int]) -> str | None:
    """Where verdicts are that no longer hold."""
    if not lines:
        return None
    numbers = ", ".join(map(str, lines))
    return f"of line{'s' * (len(lines) > 1)} {numbers} of the journal: they no longer hold"


def _subject(verdict: Verdict, number: int) -> str:
    """What a verdict is of."""
    track = verdict.track
    if verdict.box is None:
        return "Whole image" if track is None else f"Whole frames, {in_frames(track)}"
    box = verdict.box
    place = (
        f"Face {number}: {box.right - box.left} x {box.bottom - box.top} pixels at"
        f" ({box.left}, {box.top}); detector's score {box.score:.2f}"
    )
    return place if track is None else f"{place}; {in_frames(track)}"


def _verdict_facts(verdict: Verdict) -> list[tuple[str, str]]:
    inside = verdict.prediction_set
    ratio, sure = verdict.log10_ratio, verdict.probability
    unsure = " of the likeliest statement" if verdict.outcome.kind == "inconclusive" else ""
    point, accusation = _point(verdict.operating_point), _point(verdict.accusation_point)
    facts = [
        (f"Probability{unsure}", None if sure is None else f"{_sure(sure)} %"),
        ("Operating point", point),
        ("To say that it is not real", None if accusation == point else accusation),
        ("Likelihood ratio", None if ratio is None else f"10^{ratio:.2f} for a known class"),
        ("Sharpness", None if verdict.blur is None else f"{verdict.blur:.1f}"),
    ]
    if inside is not None:
        names = ", ".join(inside.classes) or "no known class fits"
        facts.append((f"Not excluded at {percent(inside.coverage)} %", names))
    return [(name, value) for name, value in facts if value is not None]


def _point(point: OperatingPoint | None) -> str | None:
    """A threshold and what it is worth."""
    if point is None:
        return None
    return (
        f"threshold of {point.statement}: {percent(point.threshold)} %;"
        f" budget {percent(point.budget)} %, held to"
        f" {percent(point.bound)} % with {percent(point.confidence)} % confidence"
    )


def _attribution_facts(made: Attribution) -> list[tuple[str, str]]:
    return [
        ("Computed by", made.engine),
        ("Computed in", made.provenance.precision),
        ("Decoded by", made.decoder),
        ("Faces by", made.faces),
        ("Crops", f"{made.store_size} x {made.store_size} pixels, {made.fit}"),
        ("Least size", f"{made.min_size} pixels"),
        ("Least JPEG quality", str(made.min_quality)),
        ("owdfa", made.version),
    ]


def _bins(found: Sequence[ReliabilityBin]) -> list[Bin]:
    total = sum(each.count for each in found)
    return [Bin(b.count, b.count / max(total, 1), b.confidence, b.accuracy) for b in found]


def _confidence(thresholds: Sequence[Threshold]) -> str:
    found = sorted({each.confidence for each in thresholds})
    return " and ".join(f"{percent(each)} %" for each in found) or "no"


FILTERS: dict[str, Any] = {
    "attribution_facts": _attribution_facts,
    "bins": _bins,
    "confidence": _confidence,
    "cosine": "{:.2f}".format,
    "faces": _faces,
    "file_facts": _file_facts,
    "fixed": "{:.1f}".format,
    "grouped": "{:,}".format,
    "leading": leading,
    "percent": percent,
    "subject": _subject,
    "sure": _sure,
    "timeline": timeline,
    "verdict_facts": _verdict_facts,
}
"""Of ``page.html`` and of ``pages/verdict.html``, whichever page shows that."""
