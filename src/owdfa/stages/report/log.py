"""What a run logged, and which numbers of it share a plot."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from owdfa.errors import UserError

_ACCURACIES = ("labelled_accuracy", "validation_accuracy", "oracle_all_acc")
_NO_PLOT = ("epoch", "step", "lr", "images_per_second")


class RunLog(NamedTuple):
    """What a run logged."""

    epochs: list[dict[str, Any]]  # the record of each epoch, in order
    step_names: tuple[str, ...]  # of what it measured in every step: the loss and its terms


class Panel(NamedTuple):
    """Numbers that share a plot."""

    id: str
    title: str
    note: str
    names: Sequence[str]  # as the log has them


def read_log(path: Path) -> RunLog:
    """Read a log; it is empty when there is none, as in an imported run.

    The last line may be torn by a kill, and an epoch done again after a resume stands twice:
    the later one counts.
    """
    if not path.exists():
        return RunLog([], ())
    epochs: dict[int, dict[str, Any]] = {}
    terms: dict[str, None] = {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except ValueError:
            if number == len(lines):
                break
            raise UserError(f"{path}: line {number} is not JSON; restore the file") from None
        if record.get("kind") == "epoch":
            epochs[int(record["epoch"])] = record
        else:
            terms |= dict.fromkeys(record)
    return RunLog([epochs[epoch] for epoch in sorted(epochs)], tuple(terms))


def panels(log: RunLog, true_num_classes: int | None) -> list[Panel]:
    """Which of the numbers that epochs hold share a plot.

    Loss terms, which are logged at every step too, share one, and so do accuracies; every other
    number has one of its own.

    Args:
        log: Of the run.
        true_num_classes: Number of classes of the test images; None where it is not known.
    """
    logged = _logged(log.epochs)
    terms = [name for name in logged if name in log.step_names and name not in _ACCURACIES]
    terms.sort(key="loss".__ne__)  # the first line is thick
    active_note = "Classes that the network can still assign, known ones included."
    if true_num_classes is not None:
        active_note += f" The test images are of {true_num_classes} (dotted)."
    wanted = [
        ("losses", "Losses", "The objective (thick) and its terms.", terms),
        ("active", "Prototypes active", active_note, [n for n in logged if n == "num_active"]),
        (
            "accuracy",
            "Accuracy",
            "On images whose label the run may see.",
            [name for name in _ACCURACIES if name in logged],
        ),
    ]
    named = {name for *_, names in wanted for name in names}
    for i, name in enumerate(name for name in logged if name not in named):
        title = name.replace("_", " ").capitalize()
        wanted.append((f"logged-{i}", title, "As the method logs it.", [name]))
    return [Panel(*each) for each in wanted if each[-1]]


def _logged(epochs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the numbers that epochs hold, in the order of their first appearance."""
    found: dict[str, None] = {}
    for epoch in epochs:
        numbers = (name for name, value in epoch.items() if isinstance(value, int | float))
        found |= dict.fromkeys(name for name in numbers if name not in _NO_PLOT)
    return list(found)
