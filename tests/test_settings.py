import sys
import tomllib

import pytest

from owdfa import catalog
from owdfa.errors import UserError
from owdfa.methods.base import method_type
from owdfa.methods.cal import CALSettings
from owdfa.runs.settings import DEFAULT_METHOD, load_settings
from owdfa.training.checkpoints import MAY_CHANGE
from tiny_data import TINY


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "my.toml"
        path.write_text(text)
        return path

    return write


every_recipe = pytest.mark.parametrize("name", catalog.names("recipes"))


@every_recipe
def test_every_recipe_is_valid_and_says_in_its_first_line_what_it_is(name):
    settings = load_settings(name)
    assert (settings.epochs >= 1) == method_type(settings.method.name).is_trained()
    assert name.startswith(settings.method.name)
    first, _, _ = catalog.text("recipes", name).partition("\n")
    assert first.startswith("# ")


@every_recipe
def test_the_settings_of_every_recipe_survive_their_file(name, config):
    settings = load_settings(name, None, ["seed=3"])
    again = load_settings("none", config(settings.to_toml()))
    assert again.model_dump() == settings.model_dump()
    assert again.stages == settings.stages
    assert settings.differences(again) == []


@every_recipe
def test_a_recipe_leaves_nothing_that_a_paper_fixes_to_a_default(name):
    """Nobody trains by another method's schedule, epochs or views without saying so."""
    table = tomllib.loads(catalog.text("recipes", name))
    if table["epochs"] == 0:
        pytest.skip("nothing is trained")
    assert {"epochs", "method", "backbone", "data", "optimiser", "schedule"} <= table.keys()
    assert {"batch_size", "sampling", "views"} <= table["data"].keys()
    assert {"name", "lr", "weight_decay"} <= table["optimiser"].keys()


@pytest.mark.parametrize("name", catalog.names("methods"))
def test_every_method_has_the_recipe_of_its_paper(name):
    settings = load_settings(None, None, (), {"method": {"name": name}})
    assert settings.method.name == name
    assert settings.differences(load_settings(name)) == []


def test_the_paper_recipe_is_the_paper():
    settings = load_settings("cal")
    optimiser, schedule = settings.optimiser, settings.schedule
    assert settings.backbone.name.startswith("timm/resnet50")
    assert (settings.epochs, settings.data.batch_size, settings.data.views.size) == (50, 128, 256)
    assert (optimiser.name, optimiser.lr, optimiser.weight_decay) == ("adam", 2e-4, 1e-3)
    assert (schedule.name, schedule.every, schedule.gamma) == ("step", 10, 0.05)
    assert settings.method.model_dump(exclude={"name"}) == CALSettings().model_dump()


@pytest.mark.parametrize(
    "method", [n.removesuffix("-gpu") for n in catalog.names("recipes") if n.endswith("-gpu")]
)
def test_the_gpu_recipe_trains_as_the_paper_s(method):
    fast, paper = load_settings(f"{method}-gpu"), load_settings(method)
    changed = {text.split(" ")[0] for text in fast.differences(paper)}
    assert changed == {"precision", "deterministic", "compile", "data.workers"}


def test_without_a_recipe_the_method_s_paper_is_followed():
    assert load_settings().differences(load_settings(DEFAULT_METHOD)) == []
    supervised = load_settings(None, None, ["method.name=supervised"])
    assert supervised.differences(load_settings("supervised")) == []


@pytest.mark.parametrize(
    ("recipe", "method", "expected"),
    [
        ("tiny", None, "cal-tiny"),
        ("tiny", "cal", "cal-tiny"),
        ("tiny", "supervised", "supervised-tiny"),
        ("cal-tiny", None, "cal-tiny"),
        ("cal-tiny", "cal", "cal-tiny"),
        ("supervised-tiny", None, "supervised-tiny"),
        ("supervised", None, "supervised"),
        ("supervised", "supervised", "supervised"),
    ],
)
def test_a_recipe_is_that_of_the_method(recipe, method, expected):
    chosen = load_settings(recipe, None, (), {"method": {"name": method}} if method else {})
    assert chosen.differences(load_settings(expected)) == []


def test_the_recipe_of_another_method_is_refused(config):
    explicit = {"method": {"name": "supervised"}}
    line = r"^method 'supervised' has no recipe 'cal-tiny'; there are: supervised, supervised-all"
    with pytest.raises(UserError, match=line):
        load_settings("cal-tiny", None, (), explicit)
    with pytest.raises(UserError, match=line):
        load_settings("cal-tiny", config("[method]\nname = 'supervised'\n"))


def test_a_missing_recipe_is_named_with_what_there_is():
    with pytest.raises(UserError, match=r"'cal' has no recipe 'tini'; there are: cal, cal-gpu,"):
        load_settings("tini")


def test_the_recipe_of_a_method_from_outside_lies_beside_its_module():
    settings = load_settings(None, None, ["method.name=outside.drift", "method.pull=0.1"])
    assert settings.method.pull == 0.1
    assert (settings.epochs, settings.optimiser.lr, settings.data.views.jitter) == (3, 0.01, 0.2)
    with pytest.raises(
        UserError, match=r"'outside\.drift' has no recipe 'tiny'; there are: drift$"
    ):
        load_settings("tiny", None, ["method.name=outside.drift"])


def test_a_method_from_outside_without_a_recipe_says_where_it_belongs(tmp_path, monkeypatch):
    (tmp_path / "recipeless").mkdir()
    (tmp_path / "recipeless" / "__init__.py").write_text("")
    (tmp_path / "recipeless" / "mine.py").write_text(
        "from outside import drift\n"
        "from owdfa.methods.base import Method\n"
        "class Mine(Method):\n    settings_type = drift.DriftSettings\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    name = ["method.name=recipeless.mine"]
    with pytest.raises(UserError, match=r"has no recipe; write .*recipeless/mine\.toml.*--config"):
        load_settings(None, None, name)
    load_settings("none", None, [*TINY, *name, "optimiser.name=adam"])  # all settings are given
    del sys.modules["recipeless.mine"], sys.modules["recipeless"]


def test_missing_settings_are_named_all_at_once_with_the_remedy(config):
    path = config("[data.views]\nsize = 16\n[optimiser]\nname = 'adam'\n")
    with pytest.raises(UserError) as error:
        load_settings("none", path)
    line = str(error.value)
    for name in ("backbone", "data.batch_size", "optimiser.lr", "epochs"):
        assert f"{name}: is missing; choose a recipe, or set it with --set {name}=VALUE" in line
    assert "\n" not in line
    assert "data.views" not in line


def test_later_sources_win(config):
    path = config("epochs = 7\nseed = 7\n[method]\nccr_weight = 0.7\ndropout = 0.7\n")
    settings = load_settings(
        "cal", path, ["seed=8", "method.ccr_weight=0.8"], {"method": {"ccr_weight": 0.9}}
    )
    assert (settings.epochs, settings.seed) == (7, 8)
    assert (settings.method.ccr_weight, settings.method.dropout) == (0.9, 0.7)
    assert settings.data.batch_size == 128


def test_the_section_of_a_method_is_an_instance_of_its_settings():
    assert isinstance(load_settings("cal").method, CALSettings)


def test_a_misspelt_setting_is_named_with_its_source_and_the_nearest(config):
    path = config("[method]\nccr_wieght = 0.3\n")
    with pytest.raises(UserError, match=r"my\.toml: .*'method\.ccr_wieght'.*'ccr_weight'"):
        load_settings("cal", path)
    with pytest.raises(UserError, match=r"--set: .*'optimiser.lrr'.*'lr'"):
        load_settings("cal", None, ["optimiser.lrr=0.3"])


def test_a_value_that_does_not_fit_is_named():
    with pytest.raises(UserError, match=r"--set: epochs: .*greater than or equal to 0.*got -1"):
        load_settings("cal", None, ["epochs=-1"])
    with pytest.raises(UserError, match=r"selection: .*'best'"):
        load_settings("cal", None, ["selection=best"])


def test_an_unknown_method_is_named_with_the_nearest():
    with pytest.raises(UserError, match=r"method named 'call'.*'cal'"):
        load_settings(None, None, ["method.name=call"])


def test_settings_of_a_method_that_was_replaced_are_left_out(config):
    path = config("epochs = 3\n[method]\nname = 'cal'\nccr_weight = 0.3\n")
    settings = load_settings("tiny", path, (), {"method": {"name": "supervised"}})
    assert settings.method.name == "supervised"
    assert settings.epochs == 3


def test_settings_given_for_the_chosen_method_are_kept_whoever_names_it():
    chosen = {"method": {"name": "supervised"}}
    assert load_settings("tiny", None, ["method.dropout=0.4"], chosen).method.dropout == 0.4


def test_differences_name_both_values_and_ignore_what_decides_no_result():
    one, two = load_settings("tiny"), load_settings("tiny", None, ["data.batch_size=9"])
    batch_size = one.data.batch_size
    assert two.differences(one) == [f"data.batch_size {batch_size} there, 9 here"]
    assert set(MAY_CHANGE) == {"data.workers", "devices", "log_every", "onnx"}
    others = load_settings("tiny", None, ["data.workers=3", "devices=2", "log_every=7", "seed=1"])
    assert others.differences(one, MAY_CHANGE) == ["seed 0 there, 1 here"]
    assert len(others.differences(one)) == 4


def test_a_file_that_defines_no_method_is_refused():
    with pytest.raises(UserError, match=r"must define one method, it has 0"):
        load_settings("none", None, ["method.name=owdfa.layers"])


def test_a_stage_is_the_run_with_the_changes_that_it_names():
    run = load_settings("cal-tiny", None, ["seed=5", "selection=oracle", "epochs=2"])
    (stage,) = run.stages
    warm = run.stage(stage)
    assert (warm.method.name, warm.epochs, warm.seed) == ("supervised", 8, 5)
    assert (warm.schedule.every, warm.schedule.gamma) == (6, run.schedule.gamma)
    assert warm.selection == "last"  # test labels choose nothing but the run's own checkpoint
    assert warm.data.views == run.data.views
    assert warm.stages == ()


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("name = 'a'\nsettings.epochz = 3", r"stage a: no setting 'epochz'.*'epochs'"),
        ("name = 'a'\nmethod.name = 'call'", r"method named 'call'.*'cal'"),
        ("name = 'a'\nsettings.selection = 'oracle'", r"stage a: its selection is always last"),
        ("name = '../a'", r"stages\.name: .*that of a folder"),
        ("name = 'a'\n[[stages]]\nname = 'a'", r"two stages have the same name"),
    ],
)
def test_a_mistake_in_a_stage_is_found_before_anything_is_trained(config, stage, message):
    with pytest.raises(UserError, match=message) as error:
        load_settings("cal", config(f"[[stages]]\n{stage}\n"))
    assert "\n" not in str(error.value)
