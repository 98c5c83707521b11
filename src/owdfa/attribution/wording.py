"""A verdict in plain words, for a reader without statistics."""

from owdfa.records.verdict import FORGED, OperatingPoint, Outcome

_REASONS = {
    "undecodable": "No verdict: the file cannot be decoded",
    "no-face": "No verdict: no face was found",
    "too-small": "No verdict: it is too small to be looked at",
    "too-compressed": "No verdict: it is compressed too strongly to be looked at",
    "not-of-domain": "No verdict: what is looked at has nearly one colour",
    "unsure": "Inconclusive: nothing can be said within the stated limits of error",
    "unstable": "Inconclusive: re-encoding changes what would be said",
}


def percent(probability: float) -> str:
    """A probability as text: never 0 % or 100 %.

    Example:
        >>> [percent(p) for p in (0.973, 0.9999, 0.0001)]
        ['97 %', 'over 99 %', 'under 1 %']
    """
    if probability > 0.99:
        return "over 99 %"
    return f"{100 * probability:.0f} %" if probability >= 0.01 else "under 1 %"


def sentence(
    outcome: Outcome,
    probability: float | None,
    point: OperatingPoint | None,
    accusation: OperatingPoint | None,
) -> str:
    """The verdict in one to three sentences.

    Args:
        outcome: What is said.
        probability: Calibrated, of the outcome.
        point: The operating point of the statement.
        accusation: That of "it is not real", where it accuses.
    """
    if outcome.reason is not None:
        detail = f" ({outcome.detail})" if outcome.detail else ""
        return f"{_REASONS[outcome.reason]}{detail}."
    parts = [f"{_statement(outcome)} (probability {percent(probability or 0.0)})."]
    if accusation is not None:
        parts.append(
            f"At most {accusation.bound:.1%} of real sources like those held out are accused"
            f" ({accusation.confidence:.0%} confidence)."
        )
    elif point is not None:
        sources = "forged sources" if outcome.kind == "real-consistent" else "sources"
        parts.append(
            f"Said wrongly of at most {point.bound:.1%} of {sources} like those held out"
            f" ({point.confidence:.0%} confidence)."
        )
    if outcome.kind == "real-consistent":
        parts.append("This does not show that the image is authentic.")
    return " ".join(parts)


def _statement(outcome: Outcome) -> str:
    name = outcome.name
    return {
        "known": f"Attributed to the known type '{name}'",
        "novel": f"Like none of the known types, and like the group '{name}' that the run found"
        if name
        else "Like none of the known types",
        "family": "Not consistent with the real images, its type being unsure"
        if name == FORGED
        else f"Of the family '{name}', its type within it being unsure",
        "real-consistent": "Consistent with the real images that the run knows",
    }[outcome.kind]
