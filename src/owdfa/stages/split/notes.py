"""What the user should know of a split: copies, and images that look alike, on both sides of it."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from owdfa.checks.duplicates import MAX_BITS, look_alikes, num_copies, trained_on
from owdfa.records.rows import codes
from owdfa.stages.split.roles import TEST, UNUSED, Plan, class_codes


def notes_on_copies(
    rows: pa.Table, roles: np.ndarray, content: np.ndarray, *, by_group: bool
) -> list[str]:
    """Count copies, and images that look like one of another class or of the other side.

    Args:
        rows: Of the manifest.
        roles: (rows,) role of each, as an index into ``ROLES``.
        content: (rows,) see ``duplicates.contents``.
        by_group: Whether groups were kept whole.
    """
    notes = []
    tested, training = roles == TEST, (roles != TEST) & (roles != UNUSED)
    num_tested = int(tested.sum())
    if num := num_copies(content):
        kept = "; copies of a file are on one side of the split" if by_group else ""
        notes.append(f"{num} images are byte copies of others{kept}")
    if num := int((trained_on(content, training) & tested).sum()):
        notes.append(
            f"{num} of {num_tested} test images are byte copies of images that are trained on; "
            "--rule group keeps copies on one side"
        )
    classes = codes(rows["class"])
    classes[np.asarray(pc.is_null(rows["class"]))] = -1
    sides = np.where(tested, 1, np.where(training, 0, -1))
    by_class, by_side = look_alikes(rows["phash"], classes, sides)
    if num := int(by_class.sum()):
        notes.append(
            f"{num} images look like one of another class (perceptual hashes differ in at most "
            f"{MAX_BITS} of 64 bits), as a forgery and its original may; otherwise see whether a "
            "label is wrong"
        )
    if num := int((by_side & tested).sum()):
        notes.append(
            f"{num} of {num_tested} test images look like one that is trained on; are they frames "
            "of a video or versions of a picture, name these groups: data scan --group-level or "
            "--group-regex"
        )
    return notes


def notes_on_protocol(rows: pa.Table, roles: np.ndarray, plan: Plan) -> list[str]:
    """Say what became of a protocol's sources, long tail and limits."""
    notes = []
    chosen = [f"{role} images are of {', '.join(names)}" for role, names in plan.sources if names]
    if chosen:
        notes.append("; ".join(chosen))
    if plan.budget.imbalance is not None or plan.budget.limits:
        used = class_codes(rows, plan)[roles != UNUSED]
        sizes = np.bincount(used[used >= 0], minlength=len(plan.names)).tolist()
        listed = (f"{name} {size}" for name, size in zip(plan.names, sizes, strict=True))
        notes.append(f"images used of each class: {', '.join(listed)}")
    return notes
