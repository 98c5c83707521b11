"""Which images may have a role at all, by the source that they were taken from."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from owdfa.catalog import nearest
from owdfa.errors import UserError
from owdfa.protocols import Sources, matches, natural_sort

EVERY = Sources()


def resolve_sources(sources: Sources, column: pa.ChunkedArray, where: str) -> Sources:
    """Replace patterns by the names of a manifest's sources, and ``leave_out`` by what it means.

    A source that is left out gives no labelled image, and is all that is tested on.

    Args:
        sources: Of a protocol.
        column: (rows,) the manifest's sources.
        where: The protocol's name, for the error message.

    Raises:
        UserError: A name or pattern matches no source, or ``leave_out`` comes with lists of roles.
    """
    if sources == EVERY:
        return sources
    there = natural_sort(pc.unique(column).drop_null().to_pylist())
    names = {role: _names(patterns, there, where) for role, patterns in sources if patterns}
    left_out = names.pop("leave_out", ())
    if not left_out:
        return Sources.model_validate(names)
    if names:
        raise UserError(
            f"protocol {where}: [sources] has leave_out and {next(iter(names))}; keep one of them"
        )
    others = tuple(name for name in there if name not in left_out)
    if not others:
        raise UserError(f"protocol {where}: leave_out leaves no source to label images of")
    return Sources(labelled=others, test=left_out)


def _names(patterns: Sequence[str], there: list[str], where: str) -> tuple[str, ...]:
    for pattern in patterns:
        if not there:
            raise UserError(
                f"protocol {where}: the manifest names no source, so {pattern!r} cannot be chosen;"
                " scan a csv file with a column source"
            )
        if not matches(pattern, there):
            raise UserError(f"protocol {where}: no source {pattern!r}{nearest(pattern, there)}")
    return tuple(dict.fromkeys(name for each in patterns for name in matches(each, there)))


def may_have(column: pa.ChunkedArray, sources: Sources) -> np.ndarray:
    """Whether each row may be labelled, unlabelled or tested on: (rows, 3) bool.

    Args:
        column: (rows,) the manifest's sources; an image without one is of no source that is named.
        sources: Resolved.
    """
    lists = (sources.labelled, sources.unlabelled, sources.test)
    allowed = np.ones((len(column), len(lists)), dtype=bool)
    for role, names in enumerate(lists):
        if names is not None:
            allowed[:, role] = np.asarray(pc.is_in(column, pa.array(names, pa.string())))
    return allowed
