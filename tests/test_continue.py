"""A run is continued: rows follow their classes, and no class that was known is lost."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from command_line import done, refused
from killing import RUN, Moment, train_until
from owdfa.errors import UserError
from owdfa.images.store import IDS, Store, StoreBasis, write_notes
from owdfa.records.predictions import Predictions
from owdfa.records.split import Split
from owdfa.runs import checkpoint
from owdfa.runs.class_statistics import FILE, ClassStatistics
from owdfa.runs.run import Run
from owdfa.runs.settings import load_settings
from owdfa.stages.predict import predict
from owdfa.stages.score import score
from owdfa.stages.split import SplitOptions, split
from owdfa.stages.train import train
from owdfa.training.continual.network import _novel_rows
from small_manifest import singles, write_manifest
from test_resume import results
from tiny_data import CLASSES, SIDE, TINY, make_data

FITTED = ["backbone.name=tiny/trace8w16", f"data.views.size={SIDE}", "device=cpu", "onnx=false"]
NAIVE = ["continual.replay_weight=0"]


@pytest.fixture(scope="module")
def rounds(tmp_path_factory):
    """Splits of one data set: round 1, the same classes and one more, and one of them gone."""
    folder = tmp_path_factory.mktemp("rounds")
    data = make_data(folder / "data", per_class=24)
    draw_stripes(data.store)
    made = Split.read(data.split)
    known = {"first": ("real", "swap"), "second": ("warp", "swap", "real"), "gone": ("warp",)}
    for name, classes in known.items():
        division(made, classes, ()).write(folder / name)
    division(made, ("warp", "swap", "real"), ("real", "swap")).write(folder / "unlabelled")
    gone = division(made, ("warp",), ("real", "swap"))
    replace(gone, novel=("paint",)).write(folder / "gone")
    return folder


def draw_stripes(store):
    """A pattern for each class, since the small network sees textures and no colours."""
    draw, (y, x) = np.random.default_rng(0), np.indices((SIDE, SIDE))
    patterns = {"real": 0 * x, "swap": x // 2 % 2, "warp": y // 2 % 2, "paint": (x + y) % 2}
    names = [id_.split("/")[0] for id_ in Store.open(store).table["id"].to_pylist()]
    pixels = 128 + draw.integers(-20, 20, (len(names), SIDE, SIDE, 3))
    pixels = pixels + 60 * np.stack([patterns[name] for name in names])[..., None]
    pixels.astype(np.uint8).tofile(store / "pixels.bin")


def division(made, known, without):
    """Half of the images of known classes labelled; of the classes ``without``, test images."""
    roles = []
    for row in made.table.to_pylist():
        held, name = row["role"] == "test", row["class"]
        first = int(row["id"][-7:-4]) < 18
        role = "labelled" if name in known and first else "unlabelled"
        roles.append("test" if held else "unused" if name in without else role)
    table = made.table.set_column(1, "role", pa.array(roles, pa.string()))
    novel = tuple(name for name in CLASSES if name not in known)
    return replace(made, table=table, known=known, novel=novel)


def trained(rounds, output, name, overrides, method, earlier=None):
    chosen = load_settings(None, None, overrides, {"method": {"name": method}}, earlier)
    return train(rounds / name, output, settings=chosen, store=rounds / "data" / "store")


@pytest.fixture(scope="module")
def first(rounds):
    return trained(rounds, rounds / "cal", "first", TINY, "cal").folder


@pytest.fixture(scope="module")
def plain(rounds):
    overrides = [*TINY, "epochs=10", "data.images_per_epoch=64"]
    return trained(rounds, rounds / "supervised", "first", overrides, "supervised").folder


def continued(rounds, output, name, earlier, *overrides):
    chosen = load_settings(None, None, overrides, None, earlier)
    return train(rounds / name, output, settings=chosen, store=rounds / "data" / "store")


def tensors(run):
    return checkpoint.read_weights(Run.open(run).checkpoint)


def right(rounds, run, name):
    """Share of the test images of each class that are given to it."""
    file = run.folder / "test.parquet"
    predict(run.folder, "split:test", file, split=rounds / name, store=rounds / "data" / "store")
    made = Predictions.read(file, ("id", "index"))
    said = np.array(made.metadata.classes)[np.asarray(made.table["index"])]
    truth = np.array([id_.split("/")[0] for id_ in made.table["id"].to_pylist()])
    return {each: float((said[truth == each] == each).mean()) for each in CLASSES}


def test_a_class_keeps_its_row_though_its_index_changes(rounds, first, tmp_path):
    run = continued(rounds, tmp_path / "run", "second", first, "epochs=0")
    before, after = tensors(first), tensors(run.folder)
    rows, old = after["prototypes.vectors"], before["prototypes.vectors"]
    assert run.known == ("warp", "swap", "real")
    assert torch.equal(rows[[2, 1]], old[[0, 1]])
    for name, tensor in after.items():
        if name.startswith(("backbone.", "neck.", "ffe.")):
            assert torch.equal(tensor, before[name]), name
    assert run.settings.backbone.name == Run.open(first).settings.backbone.name
    digest = Run.open(first).metadata.provenance.weights_digest
    assert run.metadata.provenance.continues == digest


def test_a_new_class_has_the_row_of_the_novel_type_that_most_of_its_images_were_given_to():
    labels = np.array([7, 7, 7, 8, 8, 8, 9, 9])
    found = np.array([3, 3, 0, 3, 3, 3, 4, 5])  # 3 known rows
    # Both 7 and 8 lie in row 3: the one of which more does has it. Half of 9 is not most.
    assert _novel_rows(found, labels, 3) == {8: 3}
    assert _novel_rows(np.array([0, 0, 4]), np.array([7, 7, 7]), 3) == {}


def test_a_new_class_without_a_novel_type_has_the_mean_of_its_images(rounds, plain, tmp_path):
    run = continued(rounds, tmp_path / "run", "second", plain, "epochs=0")
    rows, old = tensors(run.folder)["classifier.weight"], tensors(plain)["classifier.weight"]
    kept = ClassStatistics.read(run.folder)
    mean = torch.from_numpy(kept.means[kept.names.index("warp")])
    assert torch.equal(rows[[2, 1]], old)
    torch.testing.assert_close(rows[0] / rows[0].norm(), mean / mean.norm(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(rows[0].norm(), old.norm(dim=1).mean())


def test_what_is_continued_may_be_changed_by_a_recipe_and_by_settings(first):
    chosen = load_settings("tiny", None, ["epochs=1"], None, first)
    assert (chosen.method.name, chosen.epochs, chosen.data.views.size) == ("cal", 1, 64)
    assert (chosen.stages, chosen.backbone.weights) == ((), str(first))
    other = load_settings(earlier=first).differences(Run.open(first).settings)
    assert {line.split()[0] for line in other} == {
        "backbone.weights", "continual.run", "continual.replay_weight",
    }  # fmt: skip


def test_classes_of_which_nothing_is_left_stay_known(rounds, plain, tmp_path):
    """Better than fine-tuning on the new class, which forgets them."""
    kept = continued(rounds, tmp_path / "kept", "gone", plain)
    naive = continued(rounds, tmp_path / "naive", "gone", plain, *NAIVE)
    assert kept.known == ("warp", "real", "swap")
    old = {
        run.folder.name: np.mean([right(rounds, run, "gone")[name] for name in ("real", "swap")])
        for run in (kept, naive)
    }
    assert old["kept"] >= 0.75 > 0.6 > old["naive"]
    before, after = tensors(plain), tensors(kept.folder)
    for name in before.keys() - {"classifier.weight"}:  # that statistics stay true
        assert torch.equal(after[name], before[name]), name
    # The split does not list the classes that are gone, and its images are scored all the same.
    scores = score(kept.folder / "test.parquet", rounds / "gone")
    assert (scores.num_images["known"], scores.num_images["novel"]) == (6, 6)
    again = ClassStatistics.read(kept.folder)
    before = ClassStatistics.read(plain)
    assert set(again.names) == {"warp", "real", "swap"}
    assert np.array_equal(again.take(["swap"]).means, before.take(["swap"]).means)


def test_classes_that_the_split_names_may_have_no_labelled_image(rounds, plain, tmp_path):
    run = continued(rounds, tmp_path / "run", "unlabelled", plain)
    assert run.known == ("warp", "swap", "real")
    found = right(rounds, run, "unlabelled")
    assert min(found[name] for name in run.known) >= 0.5


def test_a_method_without_rows_is_refused_where_only_these_may_be_trained(rounds, tmp_path):
    one = trained(rounds, tmp_path / "one", "first", [*TINY, "classes=4", "epochs=1"], "gcd")
    with pytest.raises(UserError, match="only rows of classes may be trained, and gcd has none"):
        continued(rounds, tmp_path / "two", "gone", one.folder)
    run = continued(rounds, tmp_path / "three", "gone", one.folder, "epochs=0")
    assert tensors(run.folder)["centres"].any(dim=1).all()


@pytest.mark.parametrize(("method", "more"), [("plda", ()), ("frozen", ("classes=4",))])
def test_a_method_that_is_fitted_is_fitted_anew(rounds, plain, tmp_path, method, more):
    """To features of the same backbone, and to drawn ones of classes that are gone."""
    overrides = [*FITTED, f"backbone.weights={plain}", "method.dim=4", *more]
    one = trained(rounds, tmp_path / "one", "first", overrides, method)
    run = continued(rounds, tmp_path / "two", "gone", one.folder)
    assert run.known == ("warp", "real", "swap")
    before, after = tensors(one.folder), tensors(run.folder)
    assert all(torch.equal(after[n], before[n]) for n in before if n.startswith("backbone."))
    found = right(rounds, run, "gone")
    assert found["swap"] > 0.5
    assert found["real"] > 0


def test_statistics_are_those_of_the_features():
    draw = np.random.default_rng(0)
    mix = draw.normal(size=(6, 6)).astype(np.float32)
    rows = draw.normal(size=(4000, 6)).astype(np.float32) @ mix
    labels = np.repeat([0, 2], 2000)
    rows[labels == 2] += 5
    made = ClassStatistics.of(rows, labels, ("a", "b", "c"), "digest")
    assert (made.names, made.counts.tolist()) == (("a", "c"), [2000, 2000])
    mine = made.take(["c"])
    np.testing.assert_allclose(mine.means[0], rows[labels == 2].mean(axis=0), rtol=1e-5)
    covariance = mine.factors[0].T @ mine.factors[0] + np.diag(mine.deviations[0] ** 2)
    np.testing.assert_allclose(covariance, np.cov(rows[labels == 2].T), rtol=0.05, atol=0.05)


def test_the_spread_of_a_class_of_one_image_is_that_within_the_others():
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(401, 5)).astype(np.float32)
    made = ClassStatistics.of(rows, np.append(np.zeros(400, int), 1), ("a", "b"), "digest")
    assert not made.take(["b"]).factors.any()
    assert (made.take(["b"]).deviations > 0.9).all()


def test_damaged_statistics_are_one_line(tmp_path):
    assert ClassStatistics.read(tmp_path) is None
    (tmp_path / FILE).write_bytes(b"\0" * 20)
    with pytest.raises(UserError, match=r"is damaged; remove it and run .* --resume"):
        ClassStatistics.read(tmp_path)


def test_a_run_of_before_gets_its_statistics_by_resuming(rounds, first, tmp_path):
    run = trained(rounds, tmp_path / "run", "first", [*TINY, "epochs=1"], "supervised")
    (run.folder / FILE).unlink()
    with pytest.raises(UserError, match=r"no statistics of 'real'.* --resume"):
        continued(rounds, tmp_path / "two", "gone", run.folder)
    train(rounds / "first", run.folder, resume=True, store=rounds / "data" / "store")
    assert ClassStatistics.read(run.folder).names == ("real", "swap")


@pytest.mark.parametrize("step", [2, 5])
@pytest.mark.parametrize("name", ["second", "gone"])
def test_a_continued_run_that_was_killed_is_resumed(rounds, first, tmp_path, name, step):
    overrides = [*TINY, "method.name=cal", "epochs=2", "log_every=1"]
    overrides += [f"continual.run={first}", f"backbone.weights={first}"]
    chosen = load_settings(None, None, overrides)
    train(rounds / name, tmp_path / "unbroken", settings=chosen)
    assert train_until(rounds / name, tmp_path / "run", Moment(step=step), overrides) == -9
    train(rounds / name, tmp_path / "run", settings=chosen, resume=True)
    assert results(tmp_path / "run") == results(tmp_path / "unbroken")


def test_an_unfinished_run_is_not_continued(rounds, tmp_path):
    assert train_until(rounds / "first", tmp_path / "run", Moment(step=5), RUN) == -9
    with pytest.raises(UserError, match="not trained to its end; run its command with --resume"):
        continued(rounds, tmp_path / "two", "second", tmp_path / "run")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method.name=supervised"], "its method is cal, not supervised; .*--weights"),
        (["backbone.name=tiny/trace4w8"], "its backbone is tiny/trace8w16, not tiny/trace4w8"),
        (["backbone.weights=none"], "whole network of it; leave out --weights"),
        (["pseudo_label_confidence=0.9", "classes=5"], "leave it out with --from"),
        (["method.ffe=false"], None),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(rounds, first, tmp_path, overrides, message):
    if message is None:
        continued(rounds, tmp_path / "run", "second", first, *overrides, "epochs=0")
        return
    with pytest.raises(UserError, match=message) as error:
        continued(rounds, tmp_path / "run", "second", first, *overrides)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run" / "run.json").exists()


def test_another_size_of_the_network_is_refused(rounds, tmp_path):
    one = trained(rounds, tmp_path / "one", "first", [*TINY, "classes=4", "epochs=1"], "simgcd")
    with pytest.raises(UserError, match=r"head\..* has shape .*; leave out the setting"):
        continued(rounds, tmp_path / "two", "second", one.folder, "method.hidden_dim=32")


def test_a_class_whose_labels_are_hidden_now_is_refused(rounds, first, tmp_path):
    made = division(Split.read(rounds / "first"), ("swap", "warp"), ())
    made.write(tmp_path / "split")
    with pytest.raises(UserError, match="knows 'real' by its labels, which are hidden"):
        train(
            tmp_path / "split", tmp_path / "run", settings=load_settings(earlier=first),
            store=rounds / "data" / "store",
        )  # fmt: skip


def test_crops_of_another_size_are_refused(rounds, first, tmp_path):
    store, made = tmp_path / "store", Split.read(rounds / "second")
    rows = made.table.select(["id", "sha256"]).to_pylist()
    store.mkdir()
    np.zeros((len(rows), 8, 8, 3), np.uint8).tofile(store / "pixels.bin")
    table = pa.Table.from_pylist([{**row, "phash": 0, "face": None} for row in rows], schema=IDS)
    write_notes(store, table, StoreBasis(8, "none", "tiny"), {})
    with pytest.raises(UserError, match=r"crops of 8 px.* was trained on 16 px"):
        train(
            rounds / "second", tmp_path / "run", settings=load_settings(earlier=first), store=store
        )


def test_the_command_continues_and_names_what_it_refuses(rounds, first, tmp_path):
    store = rounds / "data" / "store"
    line = refused(
        "train", "--split", rounds / "second", "--from", tmp_path, "-o", tmp_path / "run"
    )
    assert "is missing" in line or "a run (owdfa train makes one)" in line
    said = done(
        "train", "--split", rounds / "second", "--from", first, "-o", tmp_path / "run",
        "--set", "epochs=1", "--store", store,
    )  # fmt: skip
    assert "3 of them known" in said
    assert Run.open(tmp_path / "run").settings.continual.run == str(first)


def test_test_images_that_the_earlier_run_was_trained_on_are_told(rounds, first, tmp_path):
    made = Split.read(rounds / "second")
    roles = made.table["role"].to_pylist()
    swapped = ["test" if role == "labelled" else role for role in roles[:-12]] + roles[-12:]
    table = made.table.set_column(1, "role", pa.array(swapped, pa.string()))
    replace(made, table=table).write(tmp_path / "split")
    store = rounds / "data" / "store"
    chosen = load_settings(None, None, ["epochs=0"], None, first)
    assert not continued(rounds, tmp_path / "clean", "second", first, "epochs=0").findings
    run = train(tmp_path / "split", tmp_path / "run", settings=chosen, store=store)
    (note,) = run.findings
    assert "were trained on by" in note
    assert f"split again with --like {rounds / 'first'}" in note


def test_a_split_like_an_earlier_one_keeps_what_was_held_back(tmp_path):
    before = write_manifest(tmp_path / "one.parquet", singles(real=40, a=40))
    more = write_manifest(tmp_path / "two.parquet", singles(real=40, a=40, b=20, c=20))
    options = SplitOptions(known=("real", "a"), validation=0.2, seed=1)
    one = split(before, tmp_path / "one", options=options)
    other = SplitOptions(known=("real", "a", "b"), validation=0.2, seed=2, like=tmp_path / "one")
    two = split(more, tmp_path / "two", options=other)
    role = dict(zip(two.table["id"].to_pylist(), two.table["role"].to_pylist(), strict=True))
    for row in one.table.to_pylist():
        held = ("test",) if row["role"] == "test" else ("labelled", "unlabelled")
        held = ("validation", "unlabelled") if row["role"] == "validation" else held
        assert role[row["id"]] in held
    new = [role[id_] for id_ in role if id_.startswith(("b/", "c/"))]
    assert (new.count("test"), new.count("validation") > 0) == (8, True)
    shares = split(more, tmp_path / "same", options=SplitOptions(like=tmp_path / "one")).basis
    assert shares[-3:] == one.basis[-3:]
    with pytest.raises(UserError, match="leave out --rule paper"):
        split(more, tmp_path / "three", options=other.model_copy(update={"rule": "paper"}))
