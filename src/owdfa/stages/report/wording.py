"""What was found, in plain words, and numbers as the page writes them."""

import numpy as np

from owdfa.records.scores import Calibration, Scores
from owdfa.stages.report.content import Evidence

NONE = "\N{EN DASH}"
"""What stands for a number where there is none."""
_NOTICEABLE = 0.05  # gap between confidence and accuracy that is worth a word


def headline(evidence: Evidence) -> str:
    """Say in a line what the run found: judged by the truth where the test has novel images."""
    beside = f"beside {counted(evidence.num_known, 'known one')}"
    if evidence.scores and evidence.num_novel_images:
        found, true = (evidence.scores.num_novel[key] for key in ("discovered", "true"))
        return f"{found or 'None'} of {counted(true, 'new type')} discovered {beside}"
    groups = num_groups(evidence)
    return f"{counted(groups, 'possible new type') if groups else 'No new type'} set apart {beside}"


def verdict(evidence: Evidence) -> list[str]:
    """Say what was found, how sure the run is and what it misses, a sentence each."""
    if evidence.scores and evidence.num_novel_images:
        return _judged(evidence, evidence.scores)
    return _unjudged(evidence)


def num_groups(evidence: Evidence) -> int:
    """Number of types beyond the known ones that occur among the images shown."""
    return len(np.unique(evidence.index[evidence.index >= evidence.num_known]))


def _judged(evidence: Evidence, scores: Scores) -> list[str]:
    novel, calibration = scores.num_novel, scores.calibration
    apart = int((evidence.index >= evidence.num_known).sum())
    return [
        f"Shown {counted(len(evidence.ids), 'test image')} it had never seen, the run gave "
        f"{len(evidence.ids) - apart:,} to the {counted(evidence.num_known, 'type')} it knows and "
        f"set {apart:,} apart, in {counted(num_groups(evidence), 'group')} of its own making.",
        f"The test holds {counted(novel['true'], 'type')} that "
        f"{'is' if novel['true'] == 1 else 'are'} truly new: {novel['discovered']} of "
        f"{novel['true']} found as a type of their own.",
        f"{percent(scores.novel_given_to_known)} % of the images of new types were absorbed by "
        f"a known type; {percent(scores.known_given_to_novel)} % of the images of known types "
        f"were taken for new.",
        _sureness(calibration),
    ]


def _unjudged(evidence: Evidence) -> list[str]:
    aside = float(np.mean(evidence.index >= evidence.num_known)) if evidence.ids else 0.0
    images = counted(len(evidence.ids), f"{evidence.role} image")
    sentences = [
        f"Among {images}, the run set {percent(aside)} % "
        f"apart, in {counted(num_groups(evidence), 'group')} of its own making.",
        "No test image is of a type that is known to be new, so how well new types are found "
        "cannot be scored here.",
    ]
    if evidence.scores:
        sentences.append(f"On the test images: {_sureness(evidence.scores.calibration)}")
    elif evidence.ids:
        sure = percent(float(evidence.confidence.mean()))
        sentences.append(f"It is {sure} % sure on average; no test image shows if that is earned.")
    return sentences


def _sureness(calibration: Calibration) -> str:
    gap = calibration["mean_confidence"] - calibration["accuracy"]
    judgement = "about as sure as it should be"
    if abs(gap) >= _NOTICEABLE:
        judgement = "surer than it should be" if gap > 0 else "less sure than it could be"
    return (
        f"It is {percent(calibration['mean_confidence'])} % sure on average and right "
        f"{percent(calibration['accuracy'])} % of the time: {judgement}."
    )


def percent(share: float | None) -> str:
    """A share as the tables write it: ``0.883`` is ``88.3``; a dash when there is none."""
    return NONE if share is None else f"{100 * share:.1f}".replace("-", "\N{MINUS SIGN}")


def counted(number: int, noun: str) -> str:
    """A count with its noun: ``1 type``, ``12,345 types``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
