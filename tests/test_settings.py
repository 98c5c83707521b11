import pytest

from owdfa import catalog
from owdfa.errors import UserError
from owdfa.methods.cal import CALSettings
from owdfa.runs.settings import load_settings


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "my.toml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("name", catalog.names("recipes"))
def test_every_recipe_is_valid_and_says_in_its_first_line_what_it_is(name):
    assert load_settings(name).epochs >= 1
    first, _, _ = catalog.text("recipes", name).partition("\n")
    assert first.startswith("# ")


def test_the_paper_recipe_is_the_paper():
    settings = load_settings("paper")
    optimiser = settings.optimiser
    assert settings.backbone.name.startswith("timm/resnet50")
    assert (settings.epochs, settings.data.batch_size, settings.data.views.size) == (50, 128, 256)
    assert (optimiser.name, optimiser.lr, optimiser.weight_decay) == ("adam", 2e-4, 1e-3)
    assert (optimiser.lr_step, optimiser.lr_gamma) == (10, 0.05)
    assert settings.method.model_dump(exclude={"name"}) == CALSettings().model_dump()


def test_later_sources_win(config):
    path = config("epochs = 7\nseed = 7\n[method]\nccr_weight = 0.7\ndropout = 0.7\n")
    settings = load_settings(
        "paper", path, ["seed=8", "method.ccr_weight=0.8"], {"method": {"ccr_weight": 0.9}}
    )
    assert (settings.epochs, settings.seed) == (7, 8)
    assert (settings.method.ccr_weight, settings.method.dropout) == (0.9, 0.7)
    assert settings.data.batch_size == 128


def test_settings_survive_their_file(config):
    settings = load_settings("tiny", None, ["method.ccr_weight=0.25", "classes=9"])
    again = load_settings(None, config(settings.to_toml()))
    assert again.model_dump() == settings.model_dump()
    assert settings.differences(again) == []


def test_the_section_of_a_method_is_an_instance_of_its_settings():
    assert isinstance(load_settings("paper").method, CALSettings)


def test_a_misspelt_setting_is_named_with_its_source_and_the_nearest(config):
    path = config("[method]\nccr_wieght = 0.3\n")
    with pytest.raises(UserError, match=r"my\.toml: .*'method\.ccr_wieght'.*'ccr_weight'"):
        load_settings("paper", path)
    with pytest.raises(UserError, match=r"--set: .*'optimiser.lrr'.*'lr'"):
        load_settings("paper", None, ["optimiser.lrr=0.3"])


def test_a_value_that_does_not_fit_is_named():
    with pytest.raises(UserError, match=r"--set: epochs: .*greater than or equal to 1.*got 0"):
        load_settings("paper", None, ["epochs=0"])
    with pytest.raises(UserError, match=r"selection: .*'best'"):
        load_settings("paper", None, ["selection=best"])


def test_an_unknown_method_or_recipe_is_named_with_the_nearest():
    with pytest.raises(UserError, match=r"method named 'call'.*'cal'"):
        load_settings("paper", None, ["method.name=call"])
    with pytest.raises(UserError, match=r"recipe named 'tini'.*'tiny'"):
        load_settings("tini")


def test_a_recipe_of_one_method_serves_another(config):
    path = config("epochs = 3\n[method]\nname = 'cal'\nccr_weight = 0.3\n")
    settings = load_settings("tiny", path, (), {"method": {"name": "supervised"}})
    assert settings.method.name == "supervised"
    assert settings.epochs == 3


def test_settings_given_for_the_chosen_method_are_kept_whoever_names_it():
    chosen = {"method": {"name": "supervised"}}
    assert load_settings("tiny", None, ["method.dropout=0.4"], chosen).method.dropout == 0.4


def test_with_method_changes_the_method_alone():
    settings = load_settings("tiny", None, ["seed=5"])
    plain = settings.with_method("supervised")
    assert plain.method.name == "supervised"
    differences = [text for text in plain.differences(settings) if not text.startswith("method.")]
    assert differences == []


def test_differences_name_both_values():
    one, two = load_settings("tiny"), load_settings("tiny", None, ["data.batch_size=9"])
    batch_size = one.data.batch_size
    assert two.differences(one) == [f"data.batch_size {batch_size} there, 9 here"]


def test_a_method_from_outside_is_named_with_a_dot():
    settings = load_settings(None, None, ["method.name=outside.drift", "method.pull=0.1"])
    assert settings.method.pull == 0.1


def test_a_file_that_defines_no_method_is_refused():
    with pytest.raises(UserError, match=r"must define one method, it has 0"):
        load_settings(None, None, ["method.name=owdfa.layers"])
