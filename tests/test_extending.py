"""Starting a method and checking it: what is written runs, and what is broken is found."""

import importlib
import itertools
import re
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from command_line import cli, refused
from outside.centres import Centres
from owdfa.extending import check, new, rules_files
from owdfa.extending import rules_objective as objective
from owdfa.extending import rules_state as state
from owdfa.extending.check import RULES, check_method
from owdfa.extending.new import new_method
from owdfa.extending.toys import Subject
from owdfa.records.training import UNLABELLED, EpochEnd, Features
from owdfa.runs.settings import load_settings
from owdfa.stages.train import train
from tiny_data import TINY

ROOT = Path(__file__).parents[1]
BASE = {name: getattr(Centres, name) for name in ("features", "classify", "objective", "finish")}
COUNT = itertools.count(1)


@pytest.fixture
def no_new_modules(monkeypatch, tmp_path):
    """Import from ``tmp_path``, and forget it afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def centred(method, images):
    found = BASE["features"](method, images)
    (maps,) = found.maps
    return found._replace(maps=(maps - maps.mean(dim=0),))


def classify(change):
    return lambda method, given: change(method, BASE["classify"](method, given))


def objective_(change):
    def broken(method, views, labels, progress):
        return change(method, BASE["objective"](method, views, labels, progress), labels)

    return broken


def total(change):
    return objective_(
        lambda method, found, labels: found._replace(total=change(method, found, labels))
    )


def worse_without_labels(_, found, labels):
    return found.total / (labels != UNLABELLED).any()


def grow(method, _):
    method.centres = torch.zeros(len(method.centres) + 1, 8)
    return EpochEnd({})


def remember(method, _):
    method.steps = getattr(method, "steps", 0) + 1
    return EpochEnd({})


def detach(method, images):
    (maps,) = method.backbone(images)
    embedding = method.project(maps.detach().mean(dim=(2, 3)))
    return Features(embedding, (maps.detach(),), {"scores": method.head(embedding)})


def reverse(method, views, labels, progress):
    """The known classes come last."""
    flipped = views[0]._replace(parts={"scores": views[0].parts["scores"].flip(1)})
    return BASE["objective"](method, (flipped,), labels, progress)


def count(method, logits):
    method.fits += 1 if not method.training else 0
    return logits


def strided(method, found, _):
    last = method.backbone.network[0].weight.is_contiguous(memory_format=torch.channels_last)
    return found.total * (2 if last else 1)


BROKEN = [  # what a method does wrong, the rule that finds it, and what it says
    ({"objective": total(worse_without_labels)}, objective.losses_are_finite, "with no labelled"),
    ({"features": detach}, objective.gradients_reach_what_is_trained, "backbone.network.0.weight"),
    (
        {"objective": reverse, "finish": lambda *_: None},
        objective.training_learns,
        "labelled images are given their class; the logits",
    ),
    ({"objective": total(lambda m, f, _: f.total * 0)}, objective.training_learns, "from 0 to 0"),
    (
        {"objective": total(lambda m, f, _: f.total + next(COUNT))},
        objective.same_seed_same_losses,
        "total differs",
    ),
    (
        {"features": centred},
        objective.gathered_features_give_the_same_losses,
        "in two parts",
    ),
    ({"objective": total(strided)}, objective.the_order_of_memory_does_not_matter, "channels last"),
    (
        {"objective": total(lambda m, f, _: f.total.float())},
        objective.work_follows_another_precision,
        "in float64 the total is torch.float32",
    ),
    (
        {"end_epoch": lambda m, _: EpochEnd({"size": torch.ones(())})},
        objective.what_is_logged_is_plain_numbers,
        "logs size as Tensor",
    ),
    (
        {"class_axes": classmethod(lambda *_: {})},
        objective.a_class_keeps_its_row_in_a_continued_run,
        "loses its row; declare it",
    ),
    (
        {"num_active": property(lambda m: m.num_classes + 1)},
        state.logits_are_as_wide_as_there_are_active_classes,
        r"logits are \(8, 7\), not \(images, 8\)",
    ),
    (
        {"finish": lambda m, e, _: m.centres.fill_(float("nan")) + m.fits.fill_(1)},
        state.finishing_leaves_it_able_to_predict,
        r"after finish\(\) logits are not finite",
    ),
    ({"end_epoch": grow}, state.shapes_never_change, "the shape of centres"),
    (
        {
            "end_epoch": remember,
            "objective": total(lambda m, f, _: f.total * (1 + getattr(m, "steps", 0))),
        },
        state.a_checkpoint_is_complete,
        "when training goes on from a checkpoint",
    ),
    ({"end_epoch": remember}, state.all_that_changes_training_is_in_the_checkpoint, ".steps; keep"),
    ({"classify": classify(count)}, state.prediction_changes_nothing, "prediction changes fits"),
    (
        {"classify": classify(lambda m, logits: logits - logits.mean(dim=0))},
        state.an_image_is_predicted_alike_in_any_company,
        "depend on the others in its batch",
    ),
    ({"__final__": False}, rules_files.the_file_defines_one_final_method, "not marked @final"),
]


@pytest.mark.parametrize(
    ("wrong", "rule", "said"), BROKEN, ids=[rule.__name__ for _, rule, _ in BROKEN]
)
def test_a_broken_method_is_found(monkeypatch, wrong, rule, said):
    for name, value in wrong.items():
        monkeypatch.setattr(Centres, name, value)
    findings = list(rule(Subject("outside.centres")))
    assert any(re.search(said, finding) for finding in findings), findings
    assert not any("\n" in finding for finding in findings)


def test_each_rule_that_a_method_can_break_is_tried():
    in_files = {rules_files.hidden_labels_are_out_of_reach, rules_files.its_recipes_can_be_read}
    tried = {rule for _, rule, _ in BROKEN} | in_files | {rules_files.the_exported_graph_agrees}
    assert tried == set(RULES)


def test_a_method_that_reads_hidden_labels_is_found(tmp_path, no_new_modules):
    made = new_method("own.reader", tmp_path)
    file = tmp_path / "own" / "reader.py"
    subject = Subject(made.name)
    assert list(rules_files.hidden_labels_are_out_of_reach(subject)) == []
    for line in ("from owdfa.records import split", "import owdfa.records.split as s"):
        file.write_text(file.read_text() + f"\n{line}\n")
    lines = len(file.read_text().splitlines())
    assert list(rules_files.hidden_labels_are_out_of_reach(subject)) == [
        f"line {lines - 2} imports owdfa.records.split, which knows hidden labels",
        f"line {lines} imports owdfa.records.split, which knows hidden labels",
    ]


def test_what_is_out_of_reach_is_what_the_import_contract_says():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = (c for c in contracts["contracts"] if "hidden label" in c["name"])
    assert set(rules_files.OUT_OF_REACH) == set(contract["forbidden_modules"])


def test_a_broken_recipe_is_found(tmp_path, monkeypatch, no_new_modules):
    monkeypatch.setattr(check, "RULES", (rules_files.its_recipes_can_be_read,))
    new_method("own.mine", tmp_path)
    recipe = tmp_path / "own" / "mine-tiny.toml"
    recipe.write_text(recipe.read_text().replace("weight_decay", "weight_decoy"))
    (result,) = check_method("own.mine")
    assert (result.rule, result.outcome) == ("its recipes can be read", "FAILED")
    assert "recipe mine-tiny: no setting 'optimiser.weight_decoy'" in result.why


def test_an_exporter_that_is_missing_skips_its_rule(monkeypatch):
    monkeypatch.setattr(rules_files, "find_spec", lambda _: None)
    monkeypatch.setattr(check, "RULES", (rules_files.the_exported_graph_agrees,))
    (result,) = check_method("outside.centres")
    assert result == ("the exported graph agrees", "skipped", result.why)
    assert "onnx is not installed; pip install" in result.why
    ended = cli("check-method", "outside.centres")
    assert (ended.status, ended.stdout.splitlines()[-1]) == (0, "outside.centres: ok")


def test_a_graph_that_cannot_be_made_is_a_failure_of_one_line(monkeypatch):
    monkeypatch.setattr(check, "RULES", (rules_files.the_exported_graph_agrees,))
    ended = cli("check-method", "outside.centres")
    first, last = ended.stdout.splitlines()
    assert ended.status == 1
    assert first.startswith(
        "FAILED  the exported graph agrees: method Centres on toy/small: cannot"
    )
    assert last == "outside.centres: 1 of 1 rules FAILED"


def test_what_a_method_raises_is_told_with_its_line(monkeypatch):
    def fails(*_):
        raise RuntimeError("shapes\ndo not fit")

    monkeypatch.setattr(Centres, "features", fails)
    monkeypatch.setattr(check, "RULES", (objective.losses_are_finite,))
    (result,) = check_method("outside.centres")
    assert re.fullmatch(r"RuntimeError: shapes do not fit, test_extending.py:\d+", result.why)


def test_a_file_that_cannot_be_imported_is_an_error_of_one_line(tmp_path, no_new_modules):
    new_method("own.mine", tmp_path)
    (tmp_path / "own" / "mine.py").write_text('"""L = x"""\n\n1 / 0\n')
    line = refused("check-method", "own.mine")
    assert line == (
        "owdfa: method own.mine: cannot be imported (ZeroDivisionError: division by zero,"
        " mine.py:3)"
    )
    assert "did you mean 'supervised'" in refused("check-method", "supervized")
    assert "put PYTHONPATH=. before" in refused("check-method", "nowhere.mine")


def test_a_method_outside_the_package_runs_at_once(tmp_path, data, monkeypatch, no_new_modules):
    monkeypatch.chdir(tmp_path)
    ended = cli("new", "method", "own.my_method")
    assert ended.status == 0
    written = ended.stdout.partition("next:")[0].split()
    assert set(written) == {
        *("own/__init__.py", "own/my_method.py", "own/my_method.toml", "own/my_method-tiny.toml"),
        "test_my_method.py",
    }
    assert "PYTHONPATH=. owdfa check-method own.my_method" in ended.stdout
    recipe = load_settings("tiny", None, (), {"method": {"name": "own.my_method"}})
    assert recipe.backbone.name.startswith("tiny/")
    chosen = load_settings("tiny", None, [*TINY, "epochs=1", "method.name=own.my_method"])
    run = train(data.split, tmp_path / "run", settings=chosen)
    assert run.num_active == 4
    tests = vars(importlib.import_module("test_my_method"))
    for name, test in tests.items():
        if name.startswith("test_"):
            test()


def test_a_method_of_the_package_goes_where_its_kind_is(tmp_path, monkeypatch):
    (tmp_path / "src" / "owdfa" / "methods").mkdir(parents=True)
    (tmp_path / "src" / "owdfa" / "methods" / "base.py").touch()
    template = new.files("owdfa")
    monkeypatch.setattr(new, "files", lambda _: Checkout(tmp_path / "src" / "owdfa", template))
    made = new_method("mine", tmp_path / "src")
    assert [path.relative_to(tmp_path).as_posix() for path in made.files] == [
        "src/owdfa/methods/mine.py",
        "src/owdfa/recipes/mine-tiny.toml",
        "src/owdfa/recipes/mine.toml",
        "tests/test_mine.py",
    ]
    assert 'name = "mine"' in made.files[1].read_text()
    assert "from owdfa.methods.mine import Mine, MineSettings" in made.files[3].read_text()
    assert not any("emplate" in path.read_text() for path in made.files)


class Checkout:
    """A package in one place whose template lies in another."""

    def __init__(self, place, template):
        self.place, self.joinpath = place, template.joinpath

    def __str__(self):
        return str(self.place)


def test_names_that_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.py").touch()
    for name, said in [
        ("own.class", "'class' cannot name a method; use a letter"),
        ("own.Mine", "'Mine' cannot name a method"),
        ("own.my-method", "'my-method' cannot name a method"),
        ("own.", "'' cannot name a method"),
        ("own.method", "'Method', the class of 'own.method', means something else"),
        ("json.mine", "a module 'json' is installed already; name your package otherwise"),
        ("numpy.mine", "a module 'numpy' is installed already"),
        ("taken.mine", "a module 'taken' is installed already"),
        ("mine", "is no checkout of owdfa; there, a method belongs to a package of yours: owdfa"),
    ]:
        assert said in refused("new", "method", name)
    assert [path.name for path in tmp_path.iterdir()] == ["taken.py"]


def test_a_file_that_exists_is_never_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test_mine.py").write_text("precious")
    assert "test_mine.py: exists; choose another name" in refused("new", "method", "own.mine")
    assert (tmp_path / "test_mine.py").read_text() == "precious"
    assert not (tmp_path / "own").exists()


def test_names_taken_in_the_package_and_another_checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert "a method named 'cal' exists" in refused("new", "method", "cal")
    assert "a method named 'base' exists" in refused("new", "method", "base")
    (tmp_path / "src" / "owdfa" / "methods").mkdir(parents=True)
    (tmp_path / "src" / "owdfa" / "methods" / "base.py").touch()
    monkeypatch.chdir(tmp_path)
    assert "is a checkout of owdfa, but" in refused("new", "method", "mine")
