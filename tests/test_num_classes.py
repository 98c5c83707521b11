"""``--classes auto:<estimator>``: estimated once, from a stated embedding, kept, and printed."""

import json

import pytest
import torch

from command_line import cli, done, make_noise
from owdfa.errors import UserError
from owdfa.records.split import Split
from owdfa.runs.run import Run
from owdfa.runs.settings import load_settings
from owdfa.stages.train import train
from owdfa.training import num_classes
from tiny_data import TINY, make_data

SURVIVING = [each for each in TINY if not each.startswith(("stages", "epochs"))]
QUICK = [*SURVIVING, "epochs=1", "estimate.num_parts=2"]
CPL = [*QUICK, "method.name=cpl", "method.cells=1", "classes=auto:gcd"]
STAGE = """
[[stages]]
name = "warm-start"
method = { name = "supervised" }
"""


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    path = tmp_path_factory.mktemp("stages") / "stages.toml"
    path.write_text(STAGE)
    return path


@pytest.fixture(scope="module")
def warm(data, stages, tmp_path_factory):
    """A run of CPL, whose number of classes is estimated from its first stage."""
    folder = tmp_path_factory.mktemp("warm") / "run"
    return train(data.split, folder, settings=load_settings(None, stages, CPL))


@pytest.fixture(scope="module")
def cal(data, tmp_path_factory):
    chosen = [*QUICK, "method.name=cal", "stages=[]", "method.prototypes_per_known=3"]
    folder = tmp_path_factory.mktemp("cal") / "cal"
    return train(data.split, folder, settings=load_settings(None, None, chosen))


def never(*_args):
    raise AssertionError("estimated again")


def test_it_is_made_from_the_last_stage_and_kept_with_interval_parts_and_curve(data, warm):
    kept = json.loads((warm.folder / "classes.json").read_text())
    stage = Run.open(warm.folder / "stages" / "warm-start")
    assert kept["embedding"] == "stages/warm-start"
    assert kept["weights_digest"] == stage.metadata.provenance.weights_digest
    assert kept["split_digest"] == Split.read(data.split).digest()
    made = kept["estimate"]
    number = made["num_classes"]
    assert made["estimator"] == "gcd"
    assert 2 <= number <= 20
    assert len(made["parts"]) == 2
    assert made["interval"][0] <= made["interval"][1]
    assert number in made["curve"]["num_classes"]
    assert warm.metadata.classes == warm.num_active == warm.method().num_active == number
    assert warm.settings.classes == "auto:gcd"
    assert stage.settings.classes == "auto"


def test_hidden_labels_do_not_change_the_estimate(warm, stages, tmp_path):
    other = make_data(tmp_path, relabel={"warp": "paint", "swap": "warp"})
    run = train(other.split, tmp_path / "run", settings=load_settings(None, stages, CPL))
    assert run.estimate.estimate == warm.estimate.estimate


def test_a_stopped_run_keeps_its_estimate(data, warm, stages, tmp_path, monkeypatch):
    chosen = load_settings(None, stages, [*CPL, "epochs=2"])
    output = tmp_path / "run"

    def stop(done, total, note=""):
        if note.startswith("epoch 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(data.split, output, settings=chosen, on_progress=stop)
    monkeypatch.setattr(num_classes, "estimate", never)
    run = train(data.split, output, settings=chosen, resume=True)
    assert run.metadata.complete
    assert run.metadata.classes == warm.metadata.classes


def test_stages_that_need_the_number_are_given_the_same(data, tmp_path, monkeypatch):
    config, output = tmp_path / "rounds.toml", tmp_path / "run"
    config.write_text(f"pseudo_label_confidence = 0.4\n{STAGE}\n[[stages]]\nname = 'all'\n")
    chosen = load_settings(None, config, [*CPL, "data.sampling=alternating"])

    def stop(done, total, note=""):
        if note.startswith("epoch 1"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # after the stages
        train(data.split, output, settings=chosen, on_progress=stop)
    first = Run.open(output / "stages" / "all")
    assert first.settings.classes == first.num_active
    monkeypatch.setattr(num_classes, "estimate", never)
    run = train(data.split, output, settings=chosen, resume=True)
    assert run.num_active == first.num_active
    assert run.estimate.embedding == "stages/warm-start"


def test_the_embedding_of_another_run_is_used_where_one_is_named(data, warm, cal, tmp_path):
    chosen = [*CPL, "stages=[]", f"classes_from={cal.folder}"]
    run = train(data.split, tmp_path / "run", settings=load_settings(None, None, chosen))
    assert run.estimate.embedding == str(cal.folder)
    assert run.estimate.weights_digest == cal.metadata.provenance.weights_digest


def test_dpp_counts_the_prototypes_of_a_run_of_cal(data, cal, tmp_path):
    chosen = [*CPL, "stages=[]", f"classes_from={cal.folder}", "classes=auto:dpp"]
    run = train(data.split, tmp_path / "run", settings=load_settings(None, None, chosen))
    assert 2 <= run.metadata.classes <= cal.num_active
    assert run.estimate.estimate.curve.parameter == "novel prototypes"


def test_the_weights_of_a_file_are_an_embedding(data, warm, tmp_path):
    file = tmp_path / "backbone.pt"
    torch.save(warm.method().backbone.network.state_dict(), file)
    chosen = [*CPL, "stages=[]", f"backbone.weights={file}"]
    run = train(data.split, tmp_path / "run", settings=load_settings(None, None, chosen))
    assert run.estimate.embedding == f"tiny/trace8w16 with weights {file}"
    assert run.metadata.classes >= 2


def test_a_method_that_finds_its_classes_may_be_given_an_estimate(data, cal, tmp_path):
    chosen = [*QUICK, "method.name=cal", "stages=[]", "classes=auto:silhouette"]
    chosen.append(f"classes_from={cal.folder}")
    run = train(data.split, tmp_path / "run", settings=load_settings(None, None, chosen))
    assert run.num_active == run.metadata.classes == run.estimate.estimate.num_classes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["classes=auto"], r"needs the number of classes.*--classes N, .* --classes auto:gcd"),
        (["classes=auto:gcd"], r"begins with random weights.*--classes-from.*--weights"),
        (["classes=4", "classes_from=elsewhere"], r"^classes_from: .*--classes auto:gcd"),
        (["classes_from=nowhere"], r"nowhere.run\.json: no such file"),
        (["classes_from={warm}", "classes=auto:dpp"], r"dpp: .*--method cal --classes auto"),
        (["backbone.weights={warm}", "classes=auto:dpp"], r"dpp: .*--method cal --classes auto"),
    ],
)
def test_what_allows_no_estimate_is_said_before_training(data, warm, tmp_path, settings, message):
    chosen = [each.format(warm=warm.folder) for each in settings]
    loaded = load_settings(None, None, [*CPL, "stages=[]", *chosen])
    with pytest.raises(UserError, match=message) as caught:
        train(data.split, tmp_path / "run", settings=loaded)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_dpp_on_a_stage_that_finds_no_classes_is_refused_before_it(data, stages, tmp_path):
    loaded = load_settings(None, stages, [*CPL, "classes=auto:dpp"])
    with pytest.raises(UserError, match=r"dpp: .*--classes-from"):
        train(data.split, tmp_path / "run", settings=loaded)
    assert not (tmp_path / "run").exists()


def test_a_run_on_another_split_is_refused(cal, tmp_path):
    other = make_data(tmp_path / "data", per_class=13)
    loaded = load_settings(None, None, [*CPL, "stages=[]", f"classes_from={cal.folder}"])
    with pytest.raises(UserError, match=r"was trained on another split.*--classes-from"):
        train(other.split, tmp_path / "run", settings=loaded)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("auto:gdc", r"no estimator named 'gdc'; did you mean 'gcd'"),
        ("auto:nowhere.mine", r"no estimator module 'nowhere\.mine'"),
        ("many", r"classes: .*a number, auto, or auto:<estimator>"),
        ("0", r"classes: .*1 or more"),
    ],
)
def test_what_is_no_number_of_classes_is_refused(classes, message):
    with pytest.raises(UserError, match=message) as caught:
        load_settings("cal", None, [], {"classes": classes})
    assert "\n" not in str(caught.value)


def test_the_estimate_is_printed(data, cal, tmp_path):
    sets = [part for each in (*CPL, "stages=[]") for part in ("--set", each)]
    options = ["--classes", "auto:gcd", "--classes-from", cal.folder]
    ended = cli("train", "--split", data.split, "-o", tmp_path / "run", *sets, *options)
    assert ended.status == 0, ended.stderr
    line = Run.open(tmp_path / "run").estimate.line
    assert "classes estimated by gcd (interval " in line
    assert line.endswith(f"from the embedding of {cal.folder}")
    assert line in ended.stdout.splitlines()


def test_owdfa_run_prints_it_too(run_options, tmp_path):
    photos, stage = make_noise(tmp_path / "photos"), "{name='warm', method={name='supervised'}}"
    more = ["onnx=false", "method.cells=1", "estimate.num_parts=0", f"stages=[{stage}]"]
    sets = [part for each in more for part in ("--set", each)]
    options = ["--method", "cpl", "--classes", "auto:gcd", *run_options, *sets]
    shown = done("run", f"folder:{photos}", "-o", tmp_path / "run", *options)
    line = Run.open(tmp_path / "run").estimate.line
    assert line.endswith("classes estimated by gcd from the embedding of stages/warm")
    assert f"note: {line}" in shown.splitlines()
    assert line in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
