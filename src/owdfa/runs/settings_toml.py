"""All settings of a run as TOML that explains itself: what ``owdfa settings`` prints."""

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import tomli_w
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from owdfa.runs.settings import RunSettings

_WIDTH = 32  # columns before the remark on a line


def commented_toml(settings: RunSettings) -> str:
    """Write settings with the meaning, the type and the default of each; ``--config`` reads it."""
    return "\n".join(_section(settings, "")).lstrip("\n") + "\n"


def _section(model: BaseModel, prefix: str) -> Iterator[str]:
    """Lines of a section: its values, then the sections inside of it."""
    fields = type(model).model_fields
    inner = [name for name in fields if isinstance(getattr(model, name), BaseModel)]
    for name, info in fields.items():
        if name not in inner and not _is_tables(getattr(model, name)):
            yield from _line(name, getattr(model, name), info)
    for name in inner:
        yield f"\n# {fields[name].description}"
        yield f"[{prefix}{name}]"
        yield from _section(getattr(model, name), f"{prefix}{name}.")
    for name in fields:
        if _is_tables(getattr(model, name)):
            yield f"\n# {fields[name].description}"
            tables = [each.model_dump(exclude_defaults=True) for each in getattr(model, name)]
            yield tomli_w.dumps({name: tables}).rstrip("\n")


def _is_tables(value: Any) -> bool:
    return isinstance(value, tuple) and any(isinstance(each, BaseModel) for each in value)


def _line(name: str, value: Any, info: FieldInfo) -> Iterator[str]:
    default = "" if info.is_required() else f", default {_toml(info.default)}"
    remark = f"# {_type(info.annotation)}{_bounds(info)}{default}"
    yield f"# {info.description}"
    text = f"# {name} =" if value is None else f"{name} = {_toml(value)}"
    yield f"{text:<{_WIDTH}}  {remark}"


def _toml(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return tomli_w.dumps({"value": value}).partition("=")[2].strip()


def _type(annotation: Any) -> str:
    """The type in words, e.g. ``"int"`` or ``"last | validation"``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " | ".join(_type(each) for each in arguments if each is not type(None))
    if origin is tuple:
        return "list"
    return str(getattr(annotation, "__name__", annotation))


def _bounds(info: FieldInfo) -> str:
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    found = [
        f"{sign} {getattr(rule, name):g}"
        for rule in info.metadata
        for name, sign in signs.items()
        if hasattr(rule, name)
    ]
    return f" {' and '.join(found)}" if found else ""
