"""The bound that is trained on hidden labels: it is stamped, and nothing else may begin with it."""

import pyarrow as pa
import pytest

from owdfa.errors import UserError
from owdfa.records.predictions import Predictions
from owdfa.records.split import SCHEMA, Basis, Split
from owdfa.runs.run import Run
from owdfa.runs.settings import load_settings
from owdfa.stages.predict import predict
from owdfa.stages.report import report
from owdfa.stages.score import score
from owdfa.stages.train import train
from tiny_data import TINY, make_data

QUICK = [each for each in TINY if not each.startswith("stages")]
ALL = [*QUICK, "method.name=supervised", "labels=all"]


@pytest.fixture(scope="module")
def bound(data, tmp_path_factory):
    """A run on all labels, 8 epochs long."""
    folder = tmp_path_factory.mktemp("bound") / "run"
    return train(data.split, folder, settings=load_settings(None, None, [*ALL, "epochs=8"]))


def test_all_labels_are_those_of_known_and_novel_classes_and_no_others():
    roles = ["labelled", "unlabelled", "unlabelled", "unlabelled", "test", "unlabelled"]
    classes = ["b", "a", "y", None, "x", "elsewhere"]
    ids = [f"{number}.png" for number in range(len(roles))]
    columns = {"id": ids, "role": roles, "class": classes, "group": ids, "sha256": ids}
    basis = Basis("images.parquet", "", None, "group", 0, 0.75, 0.2, 0.0)
    split = Split(pa.table(columns, schema=SCHEMA), ("a", "b"), ("x", "y"), basis)
    assert split.training_rows().labels.tolist() == [1, -1, -1, -1, -1]
    assert split.training_rows(all_labels=True).labels.tolist() == [1, 0, 3, -1, -1]
    assert split.label_names() == ("a", "b")
    assert split.label_names(all_labels=True) == ("a", "b", "x", "y")


def test_it_learns_novel_classes_and_is_scored_as_any_run(data, bound, tmp_path):
    made = predict(bound.folder, "split:test", tmp_path / "made.parquet")
    assert made.metadata.classes == ("real", "swap", "novel-01", "novel-02")
    assert made.metadata.num_known == 2
    scores = score(tmp_path / "made.parquet", data.split)
    assert scores.num_novel == {"true": 2, "discovered": 2}
    assert scores.conventions["gcd-v2"]["all"]["acc"] > 0.8
    assert bound.metadata.known == ("real", "swap")
    assert bound.metadata.novel_labels == ("warp", "paint")
    assert bound.method().num_active == 4


def test_it_is_stamped_wherever_its_numbers_are(data, bound, tmp_path):
    output = tmp_path / "made.parquet"
    notes = predict(bound.folder, "split:test", output).notes
    assert "ORACLE: hidden labels were trained on" in notes
    for made in (bound.metadata.provenance, Predictions.read(output).metadata.provenance):
        assert made.is_oracle
    assert score(output, data.split).provenance.is_oracle
    page = report(bound.folder, tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count('class="oracle"') == 4  # above the title, heading, two tables
    assert "Hidden labels were trained on. Its numbers" in page


def test_without_it_nothing_is_stamped(data, tmp_path):
    chosen = load_settings(None, None, [*QUICK, "method.name=supervised", "epochs=1"])
    run = train(data.split, tmp_path / "run", settings=chosen)
    assert not run.metadata.provenance.is_oracle
    assert run.metadata.novel_labels == ()
    assert run.num_active == 2
    notes = predict(run.folder, "split:test", tmp_path / "made.parquet").notes
    assert not [note for note in notes if "ORACLE" in note]


def test_its_stages_are_stamped_too(data, tmp_path):
    config = tmp_path / "stages.toml"
    config.write_text("[[stages]]\nname = 'first'\n")
    chosen = load_settings(None, config, [*ALL, "epochs=1"])
    run = train(data.split, tmp_path / "run", settings=chosen)
    first = Run.open(run.folder / "stages" / "first")
    assert first.metadata.provenance.is_oracle
    assert first.num_active == 4


@pytest.mark.parametrize(("of_stage", "of_run"), [("all", "visible"), ("visible", "all")])
def test_a_stage_knows_the_labels_that_the_run_does(tmp_path, of_stage, of_run):
    config = tmp_path / "stages.toml"
    config.write_text(f"[[stages]]\nname = 'first'\nsettings.labels = '{of_stage}'\n")
    with pytest.raises(UserError, match=r"stage first: its labels are the run's"):
        load_settings(None, config, [*QUICK, "method.name=supervised", f"labels={of_run}"])


def test_no_other_run_begins_with_its_weights_or_its_embedding(data, bound, tmp_path):
    chosen = [*QUICK, "method.name=cpl", "method.cells=1", "stages=[]"]
    for more, message in (
        (["classes=4", f"backbone.weights={bound.folder}"], r"trained on hidden labels.*--weights"),
        (
            ["classes=auto:gcd", f"classes_from={bound.folder}"],
            r"is an oracle \(hidden labels were trained on\).*--classes-from",
        ),
    ):
        with pytest.raises(UserError, match=message):
            train(
                data.split, tmp_path / "run", settings=load_settings(None, None, [*chosen, *more])
            )
    again = load_settings(None, None, [*ALL, "epochs=0", f"backbone.weights={bound.folder}"])
    assert train(data.split, tmp_path / "again", settings=again).metadata.provenance.is_oracle


def test_a_run_of_visible_labels_is_not_resumed_with_all(data, tmp_path):
    visible = load_settings(None, None, [*ALL, "labels=visible", "epochs=1"])
    train(data.split, tmp_path / "run", settings=visible)
    with pytest.raises(UserError, match=r"labels visible there, all here"):
        train(
            data.split,
            tmp_path / "run",
            settings=load_settings(None, None, [*ALL, "epochs=1"]),
            resume=True,
        )


def test_images_without_a_class_stay_without_a_label(tmp_path):
    data = make_data(tmp_path, relabel={"paint": None})
    run = train(
        data.split, tmp_path / "run", settings=load_settings(None, None, [*ALL, "epochs=1"])
    )
    assert run.metadata.complete


@pytest.mark.parametrize("recipe", ["all", "all-gpu", "all-tiny"])
def test_its_recipes_are_those_of_the_bound_on_visible_labels(recipe):
    own = load_settings(recipe, None, ["method.name=supervised"])
    base = load_settings(
        recipe.removeprefix("all").removeprefix("-") or None, None, ["method.name=supervised"]
    )
    assert own.differences(base) == ["labels visible there, all here"]
