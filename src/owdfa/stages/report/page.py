"""Put the parts of the report into one HTML file.

Class and file names are hostile input: the template escapes all that it is given, the plots' data
cannot close their element, and the page's policy runs only the two scripts that were put into it
and loads nothing from anywhere.
"""

from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from owdfa.records.scores import Scores
from owdfa.stages.report import wording
from owdfa.stages.report.content import Evidence
from owdfa.stages.report.curves import curves
from owdfa.stages.report.embedding import Map
from owdfa.stages.report.figures import (
    Figure,
    confusion_matrix,
    embedding_map,
    order_confusion,
    reliability,
)
from owdfa.stages.report.gallery import TypeEntry

_SETS = ("all", "known", "novel")


class ScoreRow(NamedTuple):
    """A row of the score tables."""

    name: str
    oracle: bool
    scores: Scores
    groups: list[list[float | None]]  # paper ACC, gcd-v2 ACC, NMI, ARI: All, Known, Novel of each


def render(
    evidence: Evidence,
    baseline: Scores | None,
    types: Sequence[TypeEntry],
    chart: Map | None,
) -> str:
    """Write the page.

    Args:
        evidence: What the run left behind.
        baseline: Scores of another run on the same test images.
        types: The types that occur, in the order to show them.
        chart: The map of the images; None when there are too few.
    """
    sections = _sections(evidence, chart)
    scripts = _scripts()
    found = {entry.name for entry in types}
    page: str = _template().render(
        evidence=evidence,
        headline=wording.headline(evidence),
        verdict=wording.verdict(evidence),
        rows=[_score_row(scores) for scores in (evidence.scores, baseline) if scores],
        types=types,
        num_omitted=sum(not entry.examples for entry in types),
        unused=[name for name in evidence.names[: evidence.num_known] if name not in found],
        num_left_out=_num_left_out(evidence.scores),
        sections=sections,
        plots=[figure for _, figures in sections for figure in figures],
        basis=_basis(evidence),
        policy=_policy(scripts),
        style=Markup(_asset("page.css")),  # noqa: S704
        scripts=[Markup(script) for script in scripts],  # noqa: S704
    )
    return page


def _sections(evidence: Evidence, chart: Map | None) -> list[tuple[str, list[Figure]]]:
    scores = evidence.scores
    true_num_classes = scores.num_classes["true"] if scores and evidence.judged else None
    known = evidence.names[: evidence.num_known]
    where = [confusion_matrix(order_confusion(scores, known))] if scores else []
    looks = [embedding_map(evidence, chart)] if chart else []
    how = curves(evidence.log, true_num_classes)
    sure = [reliability(scores.calibration)] if scores else []
    return [
        ("Which class was taken for which", where),
        ("What the network finds alike", looks),
        ("How sure it is", sure),
        ("How it was trained", how),
    ]


def _score_row(scores: Scores) -> ScoreRow:
    counts: Any = scores.num_images
    conventions: Any = scores.conventions
    measures = [("paper", "acc"), ("gcd-v2", "acc"), ("paper", "nmi"), ("paper", "ari")]
    groups = [
        [conventions[rule][part][name] if counts[part] else None for part in _SETS]
        for rule, name in measures
    ]
    made = scores.provenance
    return ScoreRow(made.label, made.selection == "oracle", scores, groups)


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
        ("Number of types told", run.classes if run.classes != "auto" else "none (auto)"),
        ("Epochs trained", f"{run.trained_epochs}{'' if run.complete else ', unfinished'}"),
        ("Checkpoint chosen by", shown.selection),
        ("Weights, SHA-256", shown.weights_digest),
        ("Predicted by", evidence.shown.metadata.engine),
        ("Predicted in precision", shown.precision),
        ("Commit", shown.commit),
    ]


def _policy(scripts: Sequence[str]) -> str:
    """Content-Security-Policy: these scripts, styles, pictures inside the file, nothing else."""
    hashes = [b64encode(sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data: blob:; "
        f"style-src 'unsafe-inline'; script-src {allowed}"
    )


def _plot_json(plot: Any) -> Markup:
    """JSON that cannot leave its script element, whatever names are in it."""
    text = plot.to_json()
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704


def _scripts() -> list[str]:
    return [get_plotlyjs(), _asset("page.js")]


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("owdfa.stages.report", "."), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["percent"] = wording.percent
    environment.filters["grouped"] = "{:,}".format
    environment.filters["plot_json"] = _plot_json
    return environment.get_template("page.html")
