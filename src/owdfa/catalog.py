"""Find a method, data set, backbone or protocol by name: the name is that of its file.

There is no list to edit: a file put into the folder is listed, offered on the command line and
exercised by the contract tests. A name with a dot (``mypackage.mymethod``) is imported as it is,
so that a method can live outside this package.
"""

from difflib import get_close_matches
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

from owdfa.errors import UserError

_SINGULAR = {
    "methods": "method",
    "datasets": "data set",
    "backbones": "backbone library",
    "protocols": "protocol file",
    "recipes": "recipe",
    "estimators": "estimator",
    "published": "file of published results",
}
_TOML = ("protocols", "recipes", "published")
_SHARED = {"base"}  # what the files of a folder have in common


def names(kind: str) -> list[str]:
    """Names in ``owdfa/<kind>/``, sorted: modules, or TOML files."""
    folder = Path(str(files("owdfa"))) / kind
    if kind in _TOML:
        return sorted(path.stem for path in folder.glob("*.toml"))
    return sorted(m.name for m in iter_modules([str(folder)]) if m.name not in _SHARED)


def load(kind: str, name: str) -> ModuleType:
    """Import ``owdfa/<kind>/<name>.py``, or the module of a dotted name.

    Raises:
        UserError: There is none; the message lists what there is.
    """
    if "." in name:
        try:
            return import_module(name)
        except ModuleNotFoundError as error:
            raise UserError(
                f"no {_SINGULAR[kind]} module {name!r} ({error}); if its package is in this folder,"
                " put PYTHONPATH=. before the command"
            ) from None
    check(kind, name)
    return import_module(f"owdfa.{kind}.{name}")


def recipe_path(method: str, recipe: str | None = None) -> Path:
    """Find a recipe of a method.

    Args:
        method: The method's name.
        recipe: ``"tiny"`` or ``"cal-tiny"``, say; None for the paper's.

    Raises:
        UserError: There is none; the message lists what there is.
    """
    name, found = method.rpartition(".")[2], recipe_paths(method)
    for path in found:
        if path.stem in (f"{name}-{recipe}", recipe or name):
            return path
    if not found:
        raise UserError(
            f"method {method!r} has no recipe; write {_recipe_folder(method) / name}.toml, or give"
            " all settings with --recipe none --config FILE"
        )
    there = ", ".join(path.stem for path in found)
    raise UserError(f"method {method!r} has no recipe {recipe or name!r}; there are: {there}")


def recipe_paths(method: str) -> list[Path]:
    """All recipes of a method, its paper's first.

    Those of ``cal`` are ``recipes/cal.toml``, its paper's, and ``recipes/cal-<name>.toml``. Those
    of a method outside this package lie beside its module, named after it alike.
    """
    name, folder = method.rpartition(".")[2], _recipe_folder(method)
    return sorted(folder.glob(f"{name}.toml")) + sorted(folder.glob(f"{name}-*.toml"))


def _recipe_folder(method: str) -> Path:
    if "." in method:
        return Path(str(load("methods", method).__file__)).parent
    return Path(str(files("owdfa"))) / "recipes"


def method_of_recipe(recipe: str | None) -> str | None:
    """The method that a recipe named whole, ``"cal-tiny"`` say, belongs to; None without one."""
    if recipe not in names("recipes"):
        return None
    longest_first = sorted(names("methods"), key=len, reverse=True)
    return next((m for m in longest_first if recipe == m or recipe.startswith(f"{m}-")), None)


def text(kind: str, name: str) -> str:
    """The text of ``owdfa/<kind>/<name>.toml``.

    Raises:
        UserError: There is none; the message lists what there is.
    """
    check(kind, name)
    return files("owdfa").joinpath(kind, f"{name}.toml").read_text(encoding="utf-8")


def check(kind: str, name: str) -> None:
    """Raise a ``UserError`` that lists the names when ``name`` is not among them."""
    known = names(kind)
    if name not in known:
        raise UserError(f"no {_SINGULAR[kind]} named {name!r}{nearest(name, known)}")


def nearest(name: str, known: list[str]) -> str:
    """End an error message: the nearest of ``known``, or all of them."""
    near = get_close_matches(name, known)
    near.sort(key=lambda each: sorted(each) != sorted(name))  # two letters that changed places
    return f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(known)}"
