"""Put the parts of the report into one HTML file."""

from collections.abc import Sequence
from typing import Any

from owdfa import pages
from owdfa.pages import Figure
from owdfa.records.scores import Scores
from owdfa.stages.report import ratios, wording
from owdfa.stages.report.content import Evidence
from owdfa.stages.report.curves import curves
from owdfa.stages.report.embedding import Map
from owdfa.stages.report.figures import (
    confusion_matrix,
    embedding_map,
    order_confusion,
    reliability,
    tippett,
)
from owdfa.stages.report.gallery import TypeEntry
from owdfa.stages.report.rows import score_row


def render(
    evidence: Evidence,
    others: Sequence[Scores | None],
    types: Sequence[TypeEntry],
    chart: Map | None,
) -> str:
    """Write the page.

    Args:
        evidence: What the run left behind.
        others: Scores of other runs on the same test images; None where they have none.
        types: The types that occur, in the order to show them.
        chart: The map of the images; None when there are too few.
    """
    sections = _sections(evidence, chart)
    found = {entry.name for entry in types}
    rows = [score_row(scores) for scores in (evidence.scores, *others) if scores]
    values = {
        "evidence": evidence,
        "headline": wording.headline(evidence),
        "verdict": wording.verdict(evidence),
        "rows": rows,
        "gives_ratios": any(row.scores.ratios for row in rows),
        "types": types,
        "found": ratios.sentences(evidence.types_found) if evidence.types_found else [],
        "checks": ratios.checks(evidence),
        "num_omitted": sum(not entry.examples for entry in types),
        "unused": [name for name in evidence.names[: evidence.num_known] if name not in found],
        "num_left_out": _num_left_out(evidence.scores),
        "sections": sections,
        "plots": [figure for _, figures in sections for figure in figures],
        "basis": _basis(evidence),
    }
    filters = {"percent": wording.percent, "grouped": "{:,}".format}
    return pages.render(__package__, "page.html", values, filters)


def _sections(evidence: Evidence, chart: Map | None) -> list[tuple[str, list[Figure]]]:
    scores = evidence.scores
    true_num_classes = scores.num_classes["true"] if scores and evidence.judged else None
    known = evidence.names[: evidence.num_known]
    where = [confusion_matrix(order_confusion(scores, known))] if scores else []
    looks = [embedding_map(evidence, chart)] if chart else []
    how = curves(evidence.log, true_num_classes)
    sure = [reliability(scores.calibration)] if scores else []
    sure += [figure] if (figure := tippett(evidence)) else []
    return [
        ("Which class was taken for which", where),
        ("What the network finds alike", looks),
        ("How sure it is", sure),
        ("How it was trained", how),
    ]


def _num_left_out(scores: Scores | None) -> int:
    counts = scores.num_images if scores else None
    return counts["without_truth"] + counts["not_predicted"] if counts else 0


def _basis(evidence: Evidence) -> list[tuple[str, Any]]:
    """Name and value of everything that the numbers rest on."""
    split, made = evidence.split, evidence.split.basis
    shown, run = evidence.shown.metadata.provenance, evidence.run
    roles = ", ".join(
        f"{num:,} {role}" for role, num in split.num_images().items() if role != "unused"
    )
    return [
        ("Split", split.digest()),
        ("Images", roles),
        ("Split rule", made.rule),
        ("Protocol", made.protocol or "none: the known classes were chosen by hand"),
        ("Manifest", made.manifest_digest),
        ("Seed of the split", made.seed),
        ("Seed of the run", shown.seed),
        ("Method", shown.label),
        ("Backbone", shown.backbone),
        ("Number of types told", _told(evidence)),
        ("Epochs trained", f"{run.trained_epochs}{'' if run.complete else ', unfinished'}"),
        ("Labels trained on", shown.labels),
        ("Checkpoint chosen by", shown.selection),
        ("Weights, SHA-256", shown.weights_digest),
        ("Predicted by", evidence.shown.metadata.engine),
        ("Predicted in precision", shown.precision),
        ("Commit", shown.commit),
    ]


def _told(evidence: Evidence) -> int | str:
    """The number of types that the run was given, and where that is from."""
    if evidence.run.classes == "auto":
        return "none (auto)"
    return evidence.run.classes if evidence.estimate is None else evidence.estimate.line
