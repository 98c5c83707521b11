import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from command_line import done
from owdfa.errors import UserError
from owdfa.images.bad import read_bad
from owdfa.images.store import Store
from owdfa.inference.predictor import Predictor
from owdfa.loading.batches import plain_batches
from owdfa.loading.views import PlainView
from owdfa.records.predictions import Predictions, class_names
from owdfa.records.split import Split
from owdfa.runs import checkpoint
from owdfa.runs.metadata import RunMetadata
from owdfa.runs.run import Run, create_imported
from owdfa.runs.settings import load_settings
from owdfa.stages.predict import _parts, predict
from owdfa.stages.score import score
from owdfa.stages.train import train
from owdfa.training.evaluation import evaluate
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
    view = PlainView(SIDE, run.metadata.mean, run.metadata.std)
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
        assert row["prediction"] == made.metadata.classes[row["index"]]
        assert row["novel"] == (row["index"] >= 2)
        assert row["embedding"] == pytest.approx(embedding.tolist(), rel=1e-4, abs=1e-5)


def test_predictions_say_what_they_rest_on(data, run, tmp_path):
    made = predict(run.folder, "split:test", tmp_path / "p.parquet")
    metadata = Predictions.read(tmp_path / "p.parquet").metadata
    assert metadata == made.metadata
    assert metadata.classes == ("real", "swap", *(f"novel-0{i}" for i in range(1, 6)))
    assert metadata.images_digest == Split.read(data.split).digest()
    assert metadata.engine == f"torch {torch.__version__}"
    assert metadata.provenance == run.metadata.provenance
    assert metadata.provenance.split_digest == Split.read(data.split).digest()
    assert metadata.provenance.weights_digest == checkpoint.read_note(run.checkpoint).weights


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
    in_bf16 = exact.metadata.provenance.model_copy(update={"precision": "bf16-mixed"})
    assert made.metadata == exact.metadata.model_copy(update={"provenance": in_bf16})
    assert exact.metadata.provenance.precision == "32-true"
    difference = np.subtract(made.table["confidence"], exact.table["confidence"])
    assert 0 < np.abs(difference).max() < 0.02
    assert score(output, data.split).provenance.precision == "bf16-mixed"
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
    own_run.update(device="cuda")
    with pytest.raises(UserError, match="this machine has none"):
        predict(own_run.folder, "split:test", tmp_path / "p.parquet")
    made = predict(own_run.folder, "split:test", tmp_path / "p.parquet", device="cpu")
    assert made.table == expected.table
    with pytest.raises(UserError, match=r"predict: precision.*'bf16-mixed'.*fp16"):
        predict(own_run.folder, "split:test", tmp_path / "p.parquet", precision="fp16")


def test_a_csv_file_lies_beside_the_whole_predictions(run, tmp_path):
    made = predict(run.folder, "split:test", tmp_path / "p.csv")
    header, *lines = (tmp_path / "p.csv").read_text().splitlines()
    assert header == '"id","prediction","confidence","novel","log_ratio"'
    assert len(lines) == 12
    assert lines[0].startswith(f'"{made.table["id"][0]}","{made.table["prediction"][0]}",')
    assert Predictions.read(tmp_path / "p.parquet").metadata == made.metadata


def test_a_moved_run_finds_its_images(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    data = make_data(old)
    train(data.split, old, settings=load_settings(None, None, [*DRIFT, "epochs=1"]))
    train(data.split, old / "baseline", settings=load_settings(None, None, [*DRIFT, "epochs=1"]))
    expected = predict(old, "split:test", tmp_path / "old.parquet")
    beside = predict(old / "baseline", "split:test", tmp_path / "baseline.parquet")
    old.rename(new)
    for options in ((), ("--split", new / "split"), ("--store", new / "store")):
        done("predict", new, "split:test", "-o", tmp_path / "new.parquet", *options)
        assert Predictions.read(tmp_path / "new.parquet").table.drop("embedding") == expected.table
    made = predict(new / "baseline", "split:test", tmp_path / "new.parquet")
    assert made.table == beside.table
    done("report", new, "-o", tmp_path / "report.html", "--baseline", new / "baseline")
    done("report", new, "-o", tmp_path / "report.html", "--split", new / "split")


def test_a_run_whose_split_and_store_lie_elsewhere_is_told_where(tmp_path):
    data, run = make_data(tmp_path / "a" / "b" / "data"), tmp_path / "x" / "y" / "run"
    train(data.split, run, settings=load_settings(None, None, [*DRIFT, "epochs=1"]))
    assert Path(RunMetadata.read(run).split).is_absolute()
    (tmp_path / "a").rename(tmp_path / "c")
    split, store = (tmp_path / "c" / "b" / "data" / name for name in ("split", "store"))
    with pytest.raises(UserError, match=r"run: its split is no longer at .*; name it with --split"):
        predict(run, "split:test", tmp_path / "p.parquet")
    predict(run, "split:test", tmp_path / "p.parquet", split=split)
    store = store.rename(tmp_path / "crops")
    predict(run, "split:test", tmp_path / "p.parquet", split=split, store=store)


def test_one_image_is_predicted_from_a_file_bytes_or_pixels(run, photos, tmp_path):
    path = sorted(photos.rglob("*.png"))[0]
    (expected,) = predict(run.folder, path, tmp_path / "p.parquet").table.to_pylist()
    predictor = Predictor.open(run.folder)
    for image in (path, path.read_bytes(), np.array(Image.open(path))):
        found = predictor.predict_image(image)
        assert (found.name, found.novel) == (expected["prediction"], expected["novel"])
        assert found.confidence == pytest.approx(expected["confidence"], rel=1e-6)
        assert found.probabilities.sum() == pytest.approx(1, abs=1e-5)
        assert found.embedding.ndim == 1


def test_prediction_and_evaluation_in_training_are_one(data, run, tmp_path):
    predict(run.folder, "split:test", tmp_path / "p.parquet")
    table = Predictions.read(tmp_path / "p.parquet").table
    view = PlainView(SIDE, run.metadata.mean, run.metadata.std)
    method = run.method().train()
    ids = table["id"].to_pylist()
    output = evaluate(method, Store.open(data.store), ids, view, run.settings)
    assert method.training
    assert np.allclose(output.probabilities.max(axis=1), table["confidence"], atol=1e-6)
    assert np.allclose(output.embedding, table["embedding"].to_pylist(), atol=1e-6)


def test_predicting_leaves_the_process_as_it_was(run, tmp_path):
    before = torch.get_num_threads(), dict(os.environ), torch.is_inference_mode_enabled()
    predict(run.folder, "split:test", tmp_path / "p.parquet")
    after = torch.get_num_threads(), dict(os.environ), torch.is_inference_mode_enabled()
    assert after == before


def test_progress_counts_images(run, tmp_path):
    seen = []
    predict(
        run.folder, "split:test", tmp_path / "p", on_progress=lambda *state: seen.append(state[:2])
    )
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
    with pytest.raises(UserError, match=r"run\.json: is not a run"):
        predict(own_run.folder, "split:test", tmp_path / "p.parquet")


def test_pruned_classes_are_never_predicted(data, tmp_path):
    overrides = [*TINY, "method.name=cal", "method.warm_up_epochs=0"]
    run = train(data.split, tmp_path / "run", settings=load_settings(None, None, overrides))
    made = predict(run.folder, "split:test", tmp_path / "p.parquet")
    assert run.num_active < run.metadata.num_classes
    assert len(made.metadata.classes) == run.num_active
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
    assert made.metadata.images_digest is None
    with pytest.raises(UserError, match="--split"):
        predict(imported.folder, "split:test", tmp_path / "p.parquet")
    on_split = predict(imported.folder, "split:test", tmp_path / "p.parquet", split=data.split)
    assert on_split.table == own.table
    assert on_split.metadata.images_digest == Split.read(data.split).digest()
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
    assert class_names(["real", "novel-01", "swap"], 5) == (
        "real", "novel-01", "swap", "novel-02", "novel-03"
    )  # fmt: skip
    assert class_names(["real"], 1) == ("real",)


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
