"""Settings: frozen, strict about names, the same from a TOML file, ``--set`` and Python."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from owdfa.catalog import nearest
from owdfa.errors import UserError


class Settings(BaseModel):
    """Base of all settings: immutable, and a misspelt name is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        use_attribute_docstrings=True,  # what owdfa settings prints
    )


AnySettings = TypeVar("AnySettings", bound=Settings)


def parse_settings(
    schema: type[AnySettings], table: Mapping[str, Any], where: str, *, partial: bool = False
) -> AnySettings:
    """Build ``schema`` from plain values.

    Args:
        schema: The settings class.
        table: Values by name, nested for sections.
        where: The file or option that they came from, for the error message.
        partial: Do not complain of values that are missing; the result is then incomplete.

    Raises:
        UserError: A name is unknown (the nearest is named) or a value does not fit; all at once.
    """
    try:
        return schema.model_validate(dict(table))
    except ValidationError as error:
        found = [each for each in error.errors() if not (partial and each["type"] == "missing")]
        if not found:
            return schema.model_construct()
        raise UserError(f"{where}: {'; '.join(_explain(schema, each) for each in found)}") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of settings.

    Raises:
        UserError: It is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read as TOML ({reason})") from None


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """Turn ``["method.ccr_weight=0.3"]`` into ``{"method": {"ccr_weight": 0.3}}``.

    A value is read as TOML; what is not TOML is a plain string.

    Raises:
        UserError: A pair has no ``=``.
    """
    table: dict[str, Any] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name.strip():
            raise UserError(f"--set {pair}: write it as name=value, e.g. method.ccr_weight=0.3")
        try:
            parsed = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed = value
        *sections, last = name.strip().split(".")
        inner = table
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = parsed
    return table


def merge(*tables: Mapping[str, Any]) -> dict[str, Any]:
    """Lay nested tables over each other; the later one wins."""
    result: dict[str, Any] = {}
    for table in tables:
        for name, value in table.items():
            old = result.get(name)
            both = isinstance(old, Mapping) and isinstance(value, Mapping)
            result[name] = merge(old, value) if both and old is not None else value
    return result


def _explain(schema: type[BaseModel], problem: Any) -> str:
    """One clause for one of pydantic's errors."""
    place = [part for part in problem["loc"] if isinstance(part, str)]
    dotted = ".".join(place)
    if problem["type"] == "missing":
        return f"{dotted}: is missing; choose a recipe, or set it with --set {dotted}=VALUE"
    if problem["type"] != "extra_forbidden":
        return f"{dotted}: {problem['msg'].lower()} (got {problem['input']!r})"
    owner: Any = schema
    for part in place[:-1]:
        field = owner.model_fields.get(part)
        owner = field.annotation if field is not None else owner
    fields = list(getattr(owner, "model_fields", {}))
    return f"no setting {dotted!r}{nearest(place[-1], fields)}"
