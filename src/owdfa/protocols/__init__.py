"""Protocols: which classes are known, which are novel, how many images each gives.

A file of ``owdfa/protocols/`` or one of your own holds one or more of them as TOML tables::

    [p1]
    known = ["real", "swap-*"]    # names or shell patterns; a class that matches is known
    novel = ["*"]                 # among the rest, a class that matches is novel
    [ratios]                      # for every protocol of the file; a protocol may have its own
    labelled = 0.75               # share of a known class's training images that carry a label
    test = 0.2                    # share of each class's images to test on
    [budget]                      # images a class at most; left out: no limit
    known = 2000
    novel = 1500
    real = 20000                  # the class of real images
    real_per_source = 10000       # and of it, from each source

Where the question is whether a class is known again from another source, a protocol also has::

    labelled_sources = ["seed-1"]     # names or patterns; images from others carry no label
    test_sources = ["seed-[2-9]"]     # images to test on from others are not used
"""

import re
import tomllib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import PositiveInt

from owdfa import catalog
from owdfa.config import Settings, merge, parse_settings, read_toml
from owdfa.errors import UserError

_SHARED = ("ratios", "budget")


class Budget(Settings):
    """How many images of a class are used at most; None for all."""

    known: PositiveInt | None = None
    novel: PositiveInt | None = None
    real: PositiveInt | None = None
    real_per_source: PositiveInt | None = None


class Protocol(Settings):
    """What a protocol file says under one name; see the module for each setting."""

    known: tuple[str, ...]
    novel: tuple[str, ...]
    labelled: float | None = None
    test: float | None = None
    budget: Budget = Budget()
    labelled_sources: tuple[str, ...] = ()
    test_sources: tuple[str, ...] = ()


class Classes(NamedTuple):
    """The classes of a data set that take part; the place of a name is its class index."""

    known: tuple[str, ...]
    novel: tuple[str, ...]


def read_protocol(name: str) -> Protocol:
    """Read a protocol by name.

    Args:
        name: ``"owdfa40/p1"``: file and table; or the path of an own file, ``"my.toml/p1"``. The
            table may be left out when the file has only one.

    Raises:
        UserError: There is no such file or table, or it has a setting that there is not.

    Example:
        >>> read_protocol("lab/p1").known[0]
        'real'
    """
    where, tables = _read_file(name)
    protocols = _names(tables)
    chosen = name[len(where) :].strip("/")
    if not chosen and len(protocols) == 1:
        chosen = protocols[0]
    if chosen not in protocols:
        there = ", ".join(f"{where}/{key}" for key in protocols) or "none"
        raise UserError(f"no protocol named {name!r}; the file has: {there}")
    return _parse(where, tables, chosen)


def describe() -> list[tuple[str, str]]:
    """Name and a few words of every protocol that comes with the library."""
    rows = []
    for file in catalog.names("protocols"):
        tables = tomllib.loads(catalog.text("protocols", file))
        for key in _names(tables):
            protocol = _parse(file, tables, key)
            known, novel = ", ".join(protocol.known), ", ".join(protocol.novel)
            rows.append((f"{file}/{key}", f"known: {known}; novel: {novel}"))
    return rows


def classes_of(protocol: Protocol, names: Iterable[str], where: str) -> Classes:
    """Find a protocol's classes among those of a data set.

    Args:
        protocol: The protocol.
        names: Names of the data set's classes.
        where: The protocol's name, for the error message.

    Raises:
        UserError: A name or pattern of the protocol matches no class.
    """
    there = natural_sort(names)
    found = {pattern: matches(pattern, there) for pattern in (*protocol.known, *protocol.novel)}
    missing = [pattern for pattern, hits in found.items() if not hits]
    if missing:
        listed = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if missing[8:] else "")
        raise UserError(
            f"protocol {where}: the manifest has no images of {listed}; scan a folder that holds "
            "them, or name the known classes yourself with --known (or in an own protocol file)"
        )
    known = dict.fromkeys(name for pattern in protocol.known for name in found[pattern])
    novel = dict.fromkeys(name for pattern in protocol.novel for name in found[pattern])
    return Classes(tuple(known), tuple(name for name in novel if name not in known))


def matches(pattern: str, names: Sequence[str]) -> list[str]:
    """The name equal to ``pattern``, otherwise the names that it matches as a shell pattern."""
    if pattern in names:
        return [pattern]
    return [name for name in names if fnmatchcase(name, pattern)]


def natural_sort(names: Iterable[str]) -> list[str]:
    """Sort names so that ``swap-2`` comes before ``swap-10``."""

    def key(name: str) -> tuple[list[tuple[int, str]], str]:
        parts = re.split(r"([0-9]+)", name)
        return [(int(part), "") if i % 2 else (-1, part) for i, part in enumerate(parts)], name

    return sorted(names, key=key)


def _read_file(name: str) -> tuple[str, dict[str, Any]]:
    """The part of ``name`` that names a file, and the tables of that file."""
    own = re.match(r"(.*?\.toml)(?:/[^/]*)?$", name)
    if own:
        return own[1], read_toml(Path(own[1]))
    file = name.partition("/")[0]
    return file, tomllib.loads(catalog.text("protocols", file))


def _names(tables: dict[str, Any]) -> list[str]:
    """The protocols of a file; an adapter may keep a list of its classes in the same file."""
    return [key for key, table in tables.items() if isinstance(table, dict) and key not in _SHARED]


def _parse(where: str, tables: dict[str, Any], key: str) -> Protocol:
    shared = {**tables.get("ratios", {}), "budget": tables.get("budget", {})}
    return parse_settings(Protocol, merge(shared, tables[key]), f"{where}/{key}")
