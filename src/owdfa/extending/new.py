"""Start a method: its file, its recipes and its test, from a small method that runs as it is.

The template is the method ``owdfa.extending.template``, which is checked and tested as all are.
"""

import keyword
import re
import sys
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from owdfa import catalog
from owdfa.errors import UserError
from owdfa.files import write_text

_TEMPLATE = "owdfa.extending.template"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,19}")


class NewMethod(NamedTuple):
    """What was written, and how the method is named and tested."""

    files: list[Path]
    name: str  # that --method takes
    test: Path


def new_method(name: str, folder: Path) -> NewMethod:
    """Write the files of a new method; none of them may exist.

    Args:
        name: ``"mymethod"`` for one of this package, in a checkout of it; ``"mypackage.mymethod"``
            for one outside: ``mypackage/mymethod.py``, its recipes beside it, and its test.
        folder: Where the command runs: in the checkout, or where ``mypackage`` is to be.

    Raises:
        UserError: The name is no Python name or is taken, a file exists, or there is no checkout.
    """
    *package, own = name.split(".")
    for part in (*package, own):
        if not _NAME.fullmatch(part) or keyword.iskeyword(part):
            raise UserError(
                f"{part!r} cannot name a method; use a letter, then letters, digits and _, in "
                "lower case, at most 20"
            )
    place = _outside(package, own, folder) if package else _inside(own, folder)
    module = name if package else f"owdfa.methods.{name}"
    texts = {path: _text(file, name, module) for file, path in place.items()}
    for path in texts:
        if path.exists():
            raise UserError(f"{path}: exists; choose another name, or move it away")
    start = [folder.joinpath(*package[:n], "__init__.py") for n in range(1, len(package) + 1)]
    for path in start:
        if not path.parent.exists():
            texts = {path: "", **texts}
    for path, text in texts.items():
        write_text(path, text)
    return NewMethod(sorted(texts), name, place["test_template.txt"])


def _inside(name: str, folder: Path) -> dict[str, Path]:
    """Where the files of a method of this package go, by the template's."""
    marker = Path("src", "owdfa", "methods", "base.py")
    root = next((each for each in (folder, *folder.parents) if (each / marker).exists()), None)
    if root is None:
        raise UserError(
            f"{folder}: is no checkout of owdfa; there, a method belongs to a package of yours: "
            f"owdfa new method mypackage.{name}"
        )
    source, imported = root / "src" / "owdfa", Path(str(files("owdfa")))
    if source.resolve() != imported.resolve():
        raise UserError(
            f"{root}: is a checkout of owdfa, but {imported} is what runs; run make setup there "
            "and its .venv/bin/owdfa"
        )
    if name in {*catalog.names("methods"), "base"}:
        raise UserError(f"a method named {name!r} exists; choose another name")
    return {
        "template.py": source / "methods" / f"{name}.py",
        "template.toml": source / "recipes" / f"{name}.toml",
        "template-tiny.toml": source / "recipes" / f"{name}-tiny.toml",
        "test_template.txt": root / "tests" / f"test_{name}.py",
    }


def _outside(package: list[str], name: str, folder: Path) -> dict[str, Path]:
    """Where the files of a method of another package go, by the template's."""
    first, beside = package[0], folder.joinpath(*package)
    spec = None if first in sys.stdlib_module_names else find_spec(first)
    places = spec.submodule_search_locations or [] if spec else []
    elsewhere = spec and folder.resolve() / first not in {Path(each).resolve() for each in places}
    if elsewhere or first in sys.stdlib_module_names or (folder / f"{first}.py").exists():
        raise UserError(f"a module {first!r} is installed already; name your package otherwise")
    return {
        "template.py": beside / f"{name}.py",
        "template.toml": beside / f"{name}.toml",
        "template-tiny.toml": beside / f"{name}-tiny.toml",
        "test_template.txt": folder / f"test_{name}.py",
    }


def _text(file: str, name: str, module: str) -> str:
    """A file of the template, with the new names."""
    text = files("owdfa").joinpath("extending", file).read_text(encoding="utf-8")
    class_ = "".join(part.capitalize() for part in name.rpartition(".")[2].split("_"))
    if re.search(rf"\b{class_}(Settings)?\b", text) and class_ != "Template":
        raise UserError(f"{class_!r}, the class of {name!r}, means something else; choose another")
    text = text.replace(_TEMPLATE, name if file.endswith(".toml") else module)
    return re.sub(r"\bTemplate(?=Settings\b|\b)", class_, text)
