"""Open-world deepfake attribution.

    files on disk --datasets/--> Manifest --split--> Split --images/, loader--> Batch
        --backbones/, methods/, train--> Run --predict--> Predictions --score--> Scores
        --report--> page

Stages are verbs, one function each (``owdfa.scan``, ``owdfa.split``, ...), and what passes between
two stages is a file.
"""

from importlib import import_module
from typing import Any

_STAGES = ("scan", "prepare", "split", "train", "predict", "export", "score", "report")
__all__ = ["UserError", *_STAGES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    """Import a stage when it is first asked for, so that ``import owdfa`` costs nothing."""
    if name == "__version__":
        return import_module("importlib.metadata").version("owdfa")
    if name == "UserError":
        return import_module("owdfa.errors").UserError
    if name in _STAGES:
        return getattr(import_module(f"owdfa.stages.{name}"), name)
    raise AttributeError(f"module 'owdfa' has no attribute {name!r}")
