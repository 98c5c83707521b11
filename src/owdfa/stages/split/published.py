"""Roles that a data set's publisher has given, for ``rule="paper"``."""

import numpy as np
import pyarrow as pa

from owdfa import catalog
from owdfa.errors import UserError
from owdfa.protocols import Budget
from owdfa.records.split import ROLES
from owdfa.stages.split.roles import LABELLED, UNUSED, Plan, assign_roles, class_codes
from owdfa.stages.split.sources import EVERY


def paper_roles(
    rows: pa.Table, plan: Plan, groups: np.ndarray, dataset: str, *, labelled: float | None
) -> np.ndarray:
    """Role of each row, as an index into ``ROLES``: (rows,) int8.

    Those of the data set's publisher where it gives any, else each image is drawn alone.

    Args:
        rows: Of the manifest.
        plan: What is asked for; a publisher's roles keep to its classes and its share of test.
        groups: (rows,) each image alone.
        dataset: How the manifest's data set was named, such as ``"owdfa:list.csv"``.
        labelled: The share that the user asked for, which a publisher's labels cannot meet.

    Raises:
        UserError: The plan asks for what the publisher did not give, or the data set is not where
            it was scanned, or has changed.
    """
    name, _, root = dataset.partition(":")
    adapter = catalog.load("datasets", name)
    if not hasattr(adapter, "paper_roles"):
        return assign_roles(rows, plan, groups)
    changed = plan.budget != Budget() or plan.sources != EVERY
    if changed or plan.validation or labelled is not None:
        raise UserError(
            f"{dataset}: under --rule paper its own tags say what each image is for; leave out "
            "--labelled, --validation, and a protocol's budget and sources, or use --rule group"
        )
    given = adapter.paper_roles(root, plan.seed, 1 - plan.test)
    roles = _roles_of(rows["id"].to_pylist(), given, root)
    classes = class_codes(rows, plan)
    roles[classes < 0] = UNUSED
    wrong = np.flatnonzero((roles == LABELLED) & (classes >= len(plan.classes.known)))
    if len(wrong):
        raise UserError(
            f"{root}: labels images of {plan.names[classes[wrong[0]]]!r}, which is novel here; "
            "name it as known with --known or in an own protocol file, or use --rule group"
        )
    return roles


def _roles_of(ids: list[str], given: dict[str, str], root: str) -> np.ndarray:
    missing = next((identity for identity in ids if identity not in given), None)
    if missing is not None:
        raise UserError(f"{root}: does not list {missing!r} of the manifest; scan it again")
    return np.array([ROLES.index(given[identity]) for identity in ids], dtype=np.int8)
