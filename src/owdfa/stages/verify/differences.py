"""What differs between what is stated and what was computed anew, a line each."""

import json
from collections.abc import Iterator
from contextlib import suppress
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from owdfa.stages.evidence.page import DATA_END, DATA_START

TOLERANCE = 1e-3
"""Of a number that a network computed: another machine adds in another order."""
_SHOWN = 50  # differences of a kind
_MAX_TEXT = 120


def compare_values(stated: Any, found: Any, where: str) -> Iterator[str]:
    """A line for each value that differs; numbers that are near enough are the same.

    Args:
        stated: Values in dictionaries and sequences, as the case has them.
        found: The same, computed anew.
        where: What they are of.
    """
    if isinstance(stated, dict) and isinstance(found, dict):
        for name in {**stated, **found}:
            place = f"{where}: {name}" if ": " not in where else f"{where}.{name}"
            yield from compare_values(stated.get(name), found.get(name), place)
    elif isinstance(stated, list | tuple) and isinstance(found, list | tuple):
        if len(stated) != len(found):
            yield f"{where}: {len(stated)} in the case, {len(found)} computed anew"
        for number, (one, other) in enumerate(zip(stated, found, strict=False)):
            yield from compare_values(one, other, f"{where}[{number}]")
    elif not _near(stated, found):
        yield f"{where}: {_short(stated)} in the case, {_short(found)} computed anew"


def _near(stated: Any, found: Any) -> bool:
    if isinstance(stated, float) and isinstance(found, float):
        return abs(stated - found) <= TOLERANCE * max(1.0, abs(stated))
    return bool(stated == found)


def compare_pages(page: Path, text: str, made: str) -> list[str]:
    """A line for each difference between a page and the same page made anew.

    Args:
        page: Where the page is.
        text: Its content.
        made: The content that it should have.
    """
    if text == made:
        return []
    before, after = text.split("\n"), made.split("\n")
    found = []
    for kind, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        stated, computed = "\n".join(before[a:b]), "\n".join(after[c:d])
        found += _page_lines(page, a + 1, stated, computed)
    return found[:_SHOWN]


def _page_lines(page: Path, number: int, stated: str, computed: str) -> list[str]:
    """Lines on a part of the page that differs: by name where it is the data."""
    if stated.startswith(DATA_START) and computed.startswith(DATA_START):
        with suppress(ValueError):  # what is no longer JSON is compared as text
            if lines := list(_compare_data(stated, computed, f"{page}: data")):
                return lines
    start = next((i for i, (x, y) in enumerate(zip(stated, computed, strict=False)) if x != y), 0)
    start = max(start - 20, 0)
    return [
        f"{page}: line {number}: {_short(stated[start:])} on the page, {_short(computed[start:])}"
        " made anew"
    ]


def _compare_data(stated: str, computed: str, where: str) -> Iterator[str]:
    """A line for each value of the data that differs, exactly."""
    one, other = (
        json.loads(text.removeprefix(DATA_START).removesuffix(DATA_END))
        for text in (stated, computed)
    )
    flat, again = dict(_leaves(one, where)), dict(_leaves(other, where))
    for name in {**flat, **again}:
        if flat.get(name) != again.get(name):
            yield (
                f"{name}: {_short(flat.get(name))} on the page, {_short(again.get(name))} made anew"
            )


def _leaves(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{where}.{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{where}[{number}]")
    else:
        yield where, value


def _short(value: Any) -> str:
    text = " ".join(value.split()) if isinstance(value, str) else repr(value)
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."
