"""The classes of OW-DFA, by what a row of its CSV says."""

import tomllib
from functools import cache
from typing import NamedTuple

from owdfa import catalog

ALIASES = {"ForgeryNIR+": "ForgeryNIR", "DF^3": "DF3", "faceforensics": "FaceForensics++"}
"""Other spellings of a source: the release's own CSV has the first."""
FAMILIES = {
    "RealFace": "real",
    "IdentitySwap": "swap",
    "ExpressionTransfer": "reenact",
    "AttributeManipulation": "edit",
    "EntireFaceSyncthesis": "generate",  # so spelled in the release
    "EntireFaceSynthesis": "generate",
}
"""Our word for the kinds of forgery in the column ``forgery_type``."""


class Class(NamedTuple):
    """A class of the benchmark."""

    name: str
    family: str
    method: str
    source: str
    known: bool


@cache
def classes() -> dict[tuple[str, str], Class]:
    """The classes by (method, source), in the order of the table."""
    rows = tomllib.loads(catalog.text("protocols", "owdfa"))["class"]
    return {(row["method"], row["source"]): Class(**row) for row in rows}


def class_of(method: str, source: str, forgery_type: str = "") -> tuple[str, str | None]:
    """Class and family of a row; one that the table lacks is named after both."""
    source = ALIASES.get(source, source)
    found = classes().get((method, source))
    if found is None:
        return f"{source}-{method}", FAMILIES.get(forgery_type)
    return found.name, found.family
