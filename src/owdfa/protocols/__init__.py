"""Protocols: which classes are known, which are novel, how many images each gives.

A file of ``owdfa/protocols/`` or one of your own holds one or more of them as TOML tables;
``docs/protocols.md`` explains every key::

    [p1]
    known = ["real", "swap-*"]    # names or shell patterns; a class that matches is known
    novel = ["*"]                 # among the rest, a class that matches is novel
    known_until = 2021-06-30      # a class of ``novel`` is known if published by then
    [ratios]                      # for every protocol of the file; a protocol may have its own
    labelled = 0.75               # share of a known class's training images that carry a label
    test = 0.2                    # share of each class's images to test on
    [budget]                      # images a class at most; left out: no limit
    known = 2000
    novel = 1500
    real = 20000                  # the class of real images
    real_per_source = 10000       # and of it, from each source
    imbalance = 0.1               # long tail: smallest class over largest
    imbalance_of = "novel"        # of the novel classes, the known ones, or all; never of real
    limits = {"swap-3" = 20}      # single classes, or patterns
    [published]                   # for known_until: when each class was published
    swap-3 = 2021-09-01
    [sources]                     # which images may have a role, by the manifest's source
    labelled = ["ffhq"]
    unlabelled = ["celebahq"]
    test = ["celebahq"]
    leave_out = ["celebdf"]       # or this: not labelled, and all that is tested on
"""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, PositiveInt

from owdfa import catalog
from owdfa.config import Settings, merge, parse_settings, read_toml
from owdfa.errors import UserError

_SHARED = ("ratios", "budget", "published", "sources")


class Budget(Settings):
    """How many images of a class are used at most; None for all."""

    known: PositiveInt | None = None
    novel: PositiveInt | None = None
    real: PositiveInt | None = None
    real_per_source: PositiveInt | None = None
    imbalance: Annotated[float, Field(gt=0, le=1)] | None = None
    imbalance_of: Literal["novel", "known", "all"] = "novel"
    limits: dict[str, PositiveInt] = Field(default_factory=dict)


_Patterns = Annotated[tuple[str, ...], Field(min_length=1)]


class Sources(Settings):
    """Which sources a role takes its images from, by name or pattern; None for all of them."""

    labelled: _Patterns | None = None
    unlabelled: _Patterns | None = None
    test: _Patterns | None = None
    leave_out: tuple[str, ...] = ()


class Protocol(Settings):
    """What a protocol file says under one name; see the module for each setting."""

    known: tuple[str, ...] = ()
    novel: tuple[str, ...]
    known_until: date | None = None
    labelled: float | None = None
    test: float | None = None
    budget: Budget = Budget()
    published: dict[str, date] = Field(default_factory=dict)
    sources: Sources = Sources()


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
    for name in (name for file in catalog.names("protocols") for name in names_in(file)):
        protocol = read_protocol(name)
        known, novel = ", ".join(protocol.known), ", ".join(protocol.novel)
        rows.append((name, f"known: {known}; novel: {novel}"))
    return rows


def names_in(file: str) -> list[str]:
    """Names of the protocols of a file that comes with the library, such as ``"owdfa40/p1"``."""
    return [f"{file}/{key}" for key in _names(tomllib.loads(catalog.text("protocols", file)))]


def classes_of(protocol: Protocol, names: Iterable[str], where: str) -> Classes:
    """Find a protocol's classes among those of a data set.

    Args:
        protocol: The protocol.
        names: Names of the data set's classes.
        where: The protocol's name, for the error message.

    Raises:
        UserError: A name or pattern of the protocol matches no class, or a class has no date.
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
    rest = tuple(name for name in novel if name not in known)
    if protocol.known_until is None:
        return Classes(tuple(known), rest)
    old = _published_until(protocol.known_until, protocol.published, rest, where)
    return Classes((*known, *old), tuple(name for name in rest if name not in old))


def _published_until(
    end: date, published: Mapping[str, date], names: Sequence[str], where: str
) -> list[str]:
    """Those of ``names`` that were published by the end of a day."""
    for name in names:
        if name not in published:
            raise UserError(
                f"protocol {where}: class {name!r} has no date; add {name} = YYYY-MM-DD to"
                " [published], or name the class in known"
            )
    return [name for name in names if published[name] <= end]


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
    shared = {name: tables.get(name, {}) for name in _SHARED}
    ratios = shared.pop("ratios")
    protocol = parse_settings(Protocol, merge(ratios, shared, tables[key]), f"{where}/{key}")
    if not protocol.known and protocol.known_until is None:
        raise UserError(f"{where}/{key}: names no known class; write known = [...] or known_until")
    return protocol
