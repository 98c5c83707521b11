import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from command_line import done
from owdfa.errors import UserError
from owdfa.files import write_table
from owdfa.images.bad import read_bad
from owdfa.images.store import Store
from owdfa.loading.batches import plain_batches
from owdfa.loading.views import PlainView
from owdfa.records.predictions import Predictions, class_names
from owdfa.records.split import Split
from owdfa.runs import checkpoint
from owdfa.runs.run import Run, create_imported
from owdfa.runs.settings import load_settings
from owdfa.stages.predict import _parts, predict
from owdfa.stages.score import score
from owdfa.stages.train import train
from tiny_data import DRIFT, SIDE, TINY, make_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "run"
    overrides = [*DRIFT, "epochs=2", "classes=7"]
    return train(data.split, output, settings=load_settings(None, None, overrides))


@pytest.fixture
def own_run(data, tmp_path):
    """A run that a test may damage."""
    overrides = [*DRIFT, "epochs=1"]
    return train(data.split, tmp_path / "own", settings=load_settings(None, None, overrides))


@pytest.fixture(scope="module")
def photos(data, tmp_path_factory):
    """The crops of the test images as lossless files."""
    folder = tmp_path_factory.mktemp("photos")
    store = Store.open(data.store)
    ids = Split.read(data.split).with_role("test")["id"].to_pylist()
    for id_, row in zip(ids, store.rows(ids), strict=True):
        path = folder / id_
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.array(store.pixels[row])).save(path)
    return folder


def test_predictions_are_what_the_network_says(data, run, tmp_path):
    made = predict(run.folder, "split:test", tmp_path / "p.parquet")
    split, store = Split.read(data.split), Store.open(data.store)
    ids = split.with_role("test")["id"].to_pylist()
    view = PlainView(SIDE, run.facts.mean, run.facts.std)
    (batch,) = plain_batches(store, ids, view, batch_size=100)
    with torch.no_grad():
        outputs = run.method()(batch.images)
    expected = outputs.logits.softmax(dim=1).numpy()
    assert (
        made.table.column_names
        == [*Predictions.read(tmp_path / "p.parquet").table.column_names][:-1]
    )
    rows = Predictions.read(tmp_path / "p.parquet").table.to_pylist()
    assert [row["id"] for row in rows] == ids == sorted(ids)
    for row, probability, embedding in zip(rows, expected, outputs.embedding, strict=True):
        order = sorted(range(7), key=lambda k: -probability[k])
        assert row["index"] == order[0]
        assert row["top_index"] == order[:5]
        assert row["top_probability"] == pytest.approx(sorted(probability)[:1:-1], rel=1e-4)
        assert row["confidence"] == row["top_probability"][0]
        assert row["prediction"] == made.basis.classes[row["index"]]
        assert row["novel"] == (row["index"] >= 2)
        assert row["embedding"] == pytest.approx(embedding.tolist(), rel=1e-4, abs=1e-5)


def test_predictions_say_what_they_rest_on(data, run, tmp_path):
    made = predict(run.folder, "split:test", tmp_path / "p.parquet")
    basis = Predictions.read(tmp_path / "p.parquet").basis
    assert basis == made.basis
    assert basis.classes == ["real", "swap", *(f"novel-0{i}" for i in range(1, 6))]
    assert (basis.method, basis.num_known, basis.selection) == ("outside.drift", 2, "last")
    assert basis.split_digest == Split.read(data.split).digest()
    assert basis.weights_digest == checkpoint.read_note(run.checkpoint).weights


def test_files_are_predicted_as_the_same_images_of_the_split(run, photos, tmp_path):
    split = predict(run.folder, "split:test", tmp_path / "split.parquet")
    folder = predict(run.folder, photos, tmp_path / "folder.parquet")
    read = [Predictions.read(tmp_path / name).table for name in ("folder.parquet", "split.parquet")]
    assert read[0] == read[1]
    assert folder.table == split.table
    files = sorted(photos.rglob("*.png"))[:2]
    some = predict(run.folder, files, tmp_path / "files.parquet")
    assert some.table["id"].to_pylist() == [str(path) for path in files]
    assert some.table["index"] == split.table["index"][:2]
    single = predict(run.folder, str(files[0]), tmp_path / "single.parquet")
    assert single.table["index"].to_pylist() == some.table["index"].to_pylist()[:1]


def test_in_bfloat16_a_run_says_nearly_the_same_and_that_it_did(data, tmp_path):
    overrides = [*TINY, "method.name=cal", "epochs=1"]
    run = train(data.split, tmp_path / "run", settings=load_settings(None, None, overrides))
    exact = predict(run.folder, "split:test", tmp_path / "exact.parquet")
    output = tmp_path / "p.parquet"
    done("predict", run.folder, "split:test", "-o", output, "--precision", "bf16-mixed")
    made = Predictions.read(output)
    assert made.basis == exact.basis._replace(precision="bf16-mixed")
    assert exact.basis.precision == "32-true"
    difference = np.subtract(made.table["confidence"], exact.table["confidence"])
    assert 0 < np.abs(difference).max() < 0.02
    assert score(output, data.split).basis["precision"] == "bf16-mixed"
    assert ", bf16-mixed\n" in done("score", output, "--split", data.split)
    done("predict", run.folder, "split:test", "-o", output)
    assert "bf16" not in done("score", output, "--split", data.split)


def test_predicting_on_a_cpu_imports_neither_fabric_nor_a_compiler(data, tmp_path):
    overrides = [*TINY, "method.name=cal", "epochs=1"]
    run = train(data.split, tmp_path / "run", settings=load_settings(None, None, overrides))
    program = (
        "import sys\nfrom pathlib import Path\nfrom owdfa.stages.predict import predict\n"
        "predict(Path(sys.argv[1]), 'split:test', Path(sys.argv[2]))\n"
        "print([name for name in ('lightning_fabric', 'torch._dynamo') if name in sys.modules])"
    )
    command = [sys.executable, "-c", program, run.folder, tmp_path / "p.parquet"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "[]\n"), ended.stderr


def test_a_run_of_another_device_predicts_here(data, own_run, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    expected = predict(own_run.folder, "split:test", tmp_path / "cpu.parquet")
    path = own_run.folder / "settings.toml"
    path.write_text(path.read_text().replace('device = "cpu"', 'device = "cuda"'))
    with pytest.raises(UserError, match="this machine has none"):
        predict(own_run.folder, "split:test", tmp_path / "p.parquet")
    made = predict(own_run.folder, "split:test", tmp_path / "p.parquet", device="cpu")
    assert made.table == expected.table
    with pytest.raises(UserError, match=r"predict: precision.*'bf16-mixed'.*fp16"):
        predict(own_run.folder, "split:test", tmp_path / "p.parquet", precision="fp16")


def test_predictions_older_than_the_record_of_precision_are_read(run, tmp_path):
    made = predict(run.folder, "split:test", tmp_path / "p.parquet")
    note = made.basis._asdict()
    del note["precision"]
    write_table(tmp_path / "old.parquet", Predictions.read(tmp_path / "p.parquet").table, note)
    assert Predictions.read(tmp_path / "old.parquet").basis.precision is None


def test_progress_counts_images(run, tmp_path):
    seen = []
    predict(run.folder, "split:test", tmp_path / "p", on_progress=lambda *state: seen.append(state))
    assert [total for _, total in seen] == [12] * len(seen)
    assert sorted({done for done, _ in seen}) == [done for done, _ in seen]
    assert seen[-1] == (12, 12)


def test_bad_images_are_counted_listed_and_left_out(run, photos, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    good = sorted(photos.rglob("*.png"))
    output = tmp_path / "p.parquet"
    made = predict(run.folder, [broken, *good], output, max_bad=1)
    assert made.table["id"].to_pylist() == [str(path) for path in good]
    (line,) = read_bad(output)
    assert line.startswith(f"{broken}: ")
    predict(run.folder, good, output)
    assert not (tmp_path / "p.parquet.bad.txt").exists()


def test_too_many_bad_images_are_refused(run, photos, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    good = sorted(photos.rglob("*.png"))[:3]
    with pytest.raises(UserError, match=r"1 of 4 images .*--max-bad.*broken\.png"):
        predict(run.folder, [broken, *good], tmp_path / "p.parquet")
    with pytest.raises(UserError, match="none of the 1 images can be used"):
        predict(run.folder, [broken], tmp_path / "p.parquet", max_bad=1)
    assert not (tmp_path / "p.parquet").exists()


def test_what_cannot_be_predicted_is_refused(run, photos, tmp_path):
    output = tmp_path / "p.parquet"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no images there"):
        predict(run.folder, tmp_path / "empty", output)
    with pytest.raises(UserError, match="no such role; did you mean 'test'"):
        predict(run.folder, "split:tests", output)
    with pytest.raises(UserError, match="holds no unused images"):
        predict(run.folder, "split:unused", output)
    with pytest.raises(UserError, match="named twice"):
        predict(run.folder, [photos / "a.png", photos / "a.png"], output)
    with pytest.raises(UserError, match=r"run\.json: no such file"):
        predict(tmp_path, "split:test", output)


def test_a_split_that_the_run_was_not_trained_on_is_refused(run, tmp_path):
    other = make_data(tmp_path / "other", per_class=13)
    with pytest.raises(UserError, match="is not the split that"):
        predict(run.folder, "split:test", tmp_path / "p.parquet", split=other.split)


def test_a_checkpoint_of_another_number_of_classes_is_refused(own_run, tmp_path):
    path = own_run.folder / "settings.toml"
    path.write_text(path.read_text().replace('classes = "auto"', "classes = 9"))
    with pytest.raises(UserError, match=r"number of classes \(rows is \(4, 12\), expected \(9, 12"):
        predict(own_run.folder, "split:test", tmp_path / "p.parquet")


def test_a_damaged_or_missing_checkpoint_is_refused(own_run, tmp_path):
    weights = own_run.checkpoint / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UserError, match=r"weights\.safetensors: is damaged"):
        predict(own_run.folder, "split:test", tmp_path / "p.parquet")
    (own_run.checkpoint / "checkpoint.json").unlink()
    with pytest.raises(UserError, match="no checkpoint is here"):
        predict(own_run.folder, "split:test", tmp_path / "p.parquet")


def test_a_run_file_that_is_none_is_refused(own_run, tmp_path):
    path = own_run.folder / "run.json"
    path.write_text(json.dumps({"schema": "something else"}))
    with pytest.raises(UserError, match="is not a run"):
        predict(own_run.folder, "split:test", tmp_path / "p.parquet")


def test_pruned_classes_are_never_predicted(data, tmp_path):
    overrides = [*TINY, "method.name=cal", "method.warm_up_epochs=0"]
    run = train(data.split, tmp_path / "run", settings=load_settings(None, None, overrides))
    made = predict(run.folder, "split:test", tmp_path / "p.parquet")
    assert run.num_active < run.facts.num_classes
    assert len(made.basis.classes) == run.num_active
    assert max(made.table["index"].to_pylist()) < run.num_active


def test_imported_weights_predict(data, run, photos, tmp_path):
    weights = run.method().state_dict()
    imported = create_imported(
        tmp_path / "imported", run.settings, run.known, weights, faces="none", store_size=SIDE
    )
    assert imported == Run.open(imported.folder)
    own = predict(run.folder, photos, tmp_path / "own.parquet")
    made = predict(imported.folder, photos, tmp_path / "p.parquet")
    assert made.table == own.table
    assert made.basis.split_digest is None
    with pytest.raises(UserError, match="--split"):
        predict(imported.folder, "split:test", tmp_path / "p.parquet")
    on_split = predict(imported.folder, "split:test", tmp_path / "p.parquet", split=data.split)
    assert on_split.table == own.table
    assert on_split.basis.split_digest == Split.read(data.split).digest()
    with pytest.raises(UserError, match="holds a run already"):
        create_imported(
            imported.folder, run.settings, run.known, weights, faces="none", store_size=SIDE
        )


def test_crops_made_otherwise_are_refused(data, run, tmp_path):
    weights = run.method().state_dict()
    imported = create_imported(
        tmp_path / "imported", run.settings, run.known, weights, faces="dlib", store_size=292
    )
    with pytest.raises(UserError, match="was prepared with faces none and size 16"):
        predict(imported.folder, "split:test", tmp_path / "p.parquet", split=data.split)


def test_novel_classes_are_numbered_past_names_that_are_taken():
    assert class_names(["real", "novel-01", "swap"], 5) == [
        "real", "novel-01", "swap", "novel-02", "novel-03"
    ]  # fmt: skip
    assert class_names(["real"], 1) == ["real"]


@pytest.mark.parametrize(
    ("total", "most", "threads", "sizes"),
    [
        (40, 8, 2, [8, 8, 6, 5, 4, 3, 2, 1, 1, 1, 1]),
        (8, 8, 2, [2, 2, 1, 1, 1, 1]),
        (5, 8, 1, [3, 1, 1]),
        (1, 8, 4, [1]),
        (0, 8, 2, []),
    ],
)
def test_parts_get_smaller_towards_the_end(total, most, threads, sizes):
    parts = list(_parts(total, most, threads))
    assert [len(part) for part in parts] == sizes
    assert [i for part in parts for i in part] == list(range(total))
