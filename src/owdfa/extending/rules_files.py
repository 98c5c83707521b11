"""Rules of a method's file, its recipes and its exported graph; each yields what is broken."""

import ast
import inspect
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from owdfa import catalog
from owdfa.extending.toys import SIZE, Subject, adam, fit, train
from owdfa.inference.network import TorchSession
from owdfa.inference.onnx_graph import CheckedCrops, Graph, check_parity, to_onnx
from owdfa.loading.views import PlainView
from owdfa.methods.base import Method, method_type
from owdfa.runs.settings import load_settings

OUT_OF_REACH = (
    *("owdfa.stages", "owdfa.datasets", "owdfa.protocols", "owdfa.images", "owdfa.loading"),
    *("owdfa.runs", "owdfa.records.manifest", "owdfa.records.split"),
    *("owdfa.records.predictions", "owdfa.records.scores"),
)
"""What knows a hidden label."""


class SkippedRule(Exception):  # noqa: N818  no error
    """A rule cannot be checked here; says why."""


def the_file_defines_one_final_method(subject: Subject) -> Iterator[str]:
    """One final class, directly below ``Method``, whose settings have defaults; an equation."""
    own = method_type(subject.name)
    if not getattr(own, "__final__", False):
        yield f"class {own.__name__} is not marked @final"
    if Method not in own.__bases__:
        yield f"class {own.__name__} is not a direct subclass of Method"
    own.settings_type()
    if "L =" not in (inspect.getdoc(catalog.load("methods", subject.name)) or ""):
        yield "the file's docstring has no equation; write it as L = ..."


def hidden_labels_are_out_of_reach(subject: Subject) -> Iterator[str]:
    """The file imports nothing that knows a hidden label."""
    file = Path(str(catalog.load("methods", subject.name).__file__))
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        module = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        for name in (".".join([*module, each.name]) for each in node.names):
            if any(f"{name}.".startswith(f"{each}.") for each in OUT_OF_REACH):
                yield f"line {node.lineno} imports {name}, which knows hidden labels"
                break


def its_recipes_can_be_read(subject: Subject) -> Iterator[str]:
    """There is a recipe of the paper, and each of the method's recipes is valid and for it."""
    catalog.recipe_path(subject.name)
    for path in catalog.recipe_paths(subject.name):
        settings = load_settings(path.stem, None, (), {"method": {"name": subject.name}})
        if settings.epochs < 1 and method_type(subject.name).finish is Method.finish:
            yield f"{path}: has no epoch, and the method fits nothing at the end"
        if settings.epochs > 0 and not subject.is_trained:
            yield f"{path}: has {settings.epochs} epochs; a method without an objective has none"


def the_exported_graph_agrees(subject: Subject) -> Iterator[str]:
    """ONNX Runtime gives what the method gives, to 1e-4."""
    for package in ("onnx", "onnxscript"):
        if find_spec(package) is None:
            raise SkippedRule(f"{package} is not installed; pip install 'owdfa[train]'")
    method = subject.build()
    train(subject, method, adam(method), range(2))
    method.eval()
    fit(method, subject.batch())
    view = PlainView(SIZE, method.backbone.mean, method.backbone.std)
    crops = np.random.default_rng(0).integers(0, 256, (8, SIZE, SIZE, 3), dtype=np.uint8)
    content = to_onnx(Graph(method, view, SIZE).eval(), crops).SerializeToString()
    check_parity(content, TorchSession(method, view, "32-true"), CheckedCrops("toy images", crops))
    yield from ()
