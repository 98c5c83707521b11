"""Check a method against the rules that every method keeps, inside this package or outside."""

import traceback
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from owdfa.errors import UserError
from owdfa.extending import rules_files as files
from owdfa.extending import rules_objective as objective
from owdfa.extending import rules_state as state
from owdfa.extending.toys import Subject
from owdfa.methods.base import method_type

Rule = Callable[[Subject], Iterator[str]]

RULES: tuple[Rule, ...] = (
    files.the_file_defines_one_final_method,
    files.hidden_labels_are_out_of_reach,
    files.its_recipes_can_be_read,
    state.logits_are_as_wide_as_there_are_active_classes,
    objective.losses_are_finite,
    objective.gradients_reach_what_is_trained,
    objective.training_learns,
    objective.same_seed_same_losses,
    objective.gathered_features_give_the_same_losses,
    objective.the_order_of_memory_does_not_matter,
    objective.work_follows_another_precision,
    objective.what_is_logged_is_plain_numbers,
    objective.a_class_keeps_its_row_in_a_continued_run,
    state.finishing_leaves_it_able_to_predict,
    state.shapes_never_change,
    state.a_checkpoint_is_complete,
    state.all_that_changes_training_is_in_the_checkpoint,
    state.prediction_changes_nothing,
    state.an_image_is_predicted_alike_in_any_company,
    files.the_exported_graph_agrees,
)


class Result(NamedTuple):
    """What came of a rule."""

    rule: str
    outcome: Literal["ok", "FAILED", "skipped"]
    why: str = ""  # one line


def check_method(name: str) -> Iterator[Result]:
    """Check a method, rule by rule, on toy images with the backbone of the tiny recipes.

    Args:
        name: Of ``owdfa/methods/``, or the module of a method outside this package.

    Raises:
        UserError: There is no such method, or its file cannot be imported.

    Example:
        >>> [result.rule for result in check_method("supervised") if result.outcome == "FAILED"]
        []
    """
    try:
        method_type(name)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"method {name}: cannot be imported ({_describe(error, name)})") from error
    for rule in RULES:
        with torch.random.fork_rng(devices=[]):
            yield _result(rule, Subject(name))


def applies(rule: Rule, subject: Subject) -> bool:
    """Whether a rule concerns a method: those of an objective do where there is one."""
    return subject.is_trained or rule.__module__ != objective.__name__


def _result(rule: Rule, subject: Subject) -> Result:
    sentence = rule.__name__.replace("_", " ")
    if not applies(rule, subject):
        return Result(sentence, "skipped", "it has no objective: it is fitted and not trained")
    try:
        # The exporter prints what it has traced where it fails.
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            findings = list(rule(subject))
    except files.SkippedRule as skipped:
        return Result(sentence, "skipped", str(skipped))
    except UserError as error:
        findings = [str(error)]
    except Exception as error:  # noqa: BLE001  a method raises what it likes
        findings = [_describe(error, subject.name)]
    if not findings:
        return Result(sentence, "ok")
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return Result(sentence, "FAILED", " ".join(findings[0].split()) + more)


def _describe(error: Exception, name: str) -> str:
    """An exception in a line, with the last line of the method's file that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    file = f"{name.rpartition('.')[2]}.py"
    mine = [frame for frame in frames if Path(frame.filename).name == file] or frames
    said = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {said}, {Path(mine[-1].filename).name}:{mine[-1].lineno}"
