"""Likelihood ratios, and what a method found of all images together, as the page writes them."""

from typing import NamedTuple

from owdfa.records.types_found import TypesFound
from owdfa.stages.report.content import Evidence
from owdfa.stages.report.wording import NONE, percent

FAR = 6
"""Powers of ten beyond which a ratio is only called more."""


class Check(NamedTuple):
    """A measure where known types were hidden, and on the test images."""

    name: str
    hidden: str
    test: str
    meaning: str


def ratio(log10: float) -> str:
    """A likelihood ratio in two digits.

    Example:
        >>> ratio(2.34), ratio(-1), ratio(0.2), ratio(9)
        ('220', '1/10', '1.6', 'over 1,000,000')
    """
    if abs(log10) > FAR:
        return f"{'over ' if log10 > 0 else 'under 1/'}{10**FAR:,}"
    text = f"{float(f'{10 ** abs(log10):.2g}'):,.1f}".removesuffix(".0")
    return text if log10 >= 0 or text == "1" else f"1/{text}"


def sentences(found: TypesFound) -> list[str]:
    """The number of types and the share of novel images, for a reader who is no statistician."""
    text = f"By its account, the images that it was trained on are of {found.num_types} types."
    if found.interval is not None:
        ends = " to ".join(map(str, dict.fromkeys(found.interval)))
        text += f" Asked again of parts of them, it says {ends} in nine cases of ten."
    if found.novel_share is None:
        share = (
            "No bound on the share of new types is given: the network has learnt the labels. For"
            " the same reason what it reaches with known types hidden is too good."
        )
    elif found.novel_share:
        share = (
            f"At least {percent(found.novel_share)} % of its unlabelled images are of new types,"
            f" with {100 * found.confidence:.0f} % confidence: a lower bound, the truth is usually"
            " more."
        )
    else:
        share = "It cannot say that any of its unlabelled images must be of a new type."
    return [text, share]


def checks(evidence: Evidence) -> list[Check]:
    """How good types and ratios were where known types were hidden, and are on the test images."""
    out = evidence.types_found and evidence.types_found.known_out
    if not out:
        return []
    known, novel, absorbed, cost, misled = _on_test_images(evidence)
    gcd = "accuracy by gcd-v2"
    cost_means = "cost of the ratios in bits: 0 is right and sure, 1 says nothing, more misleads"
    misled_means = "images of new types with a ratio above 10 for a known type; the goal is 5 %"
    return [
        Check("Known types", _percent(out.known), _percent(known), gcd),
        Check("New types", _percent(out.hidden), _percent(novel), gcd),
        Check("New → known", _percent(out.absorbed), _percent(absorbed), "given to a known type"),
        Check("Cllr", f"{out.cllr:.2f}", NONE if cost is None else f"{cost:.2f}", cost_means),
        Check("Misled", _percent(out.misled), _percent(misled), misled_means),
    ]


def _on_test_images(evidence: Evidence) -> tuple[float | None, ...]:
    """Accuracy of known and novel types, share of novel absorbed, Cllr, misled."""
    scores = evidence.scores
    if scores is None:
        return (None,) * 5
    accuracy, counts, ratios = scores.conventions["gcd-v2"], scores.num_images, scores.ratios
    return (
        accuracy["known"]["acc"] if counts["known"] else None,
        accuracy["novel"]["acc"] if counts["novel"] else None,
        scores.novel_given_to_known if counts["novel"] else None,
        ratios["cllr"] if ratios else None,
        ratios["misled"] if ratios else None,
    )


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{percent(share)} %"
