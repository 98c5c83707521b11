"""An exported network says what its run says, without torch; nothing else passes for one."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

import owdfa
from owdfa.backbones.base import build
from owdfa.cli.main import main
from owdfa.errors import UserError
from owdfa.images.store import Store
from owdfa.inference import onnx_graph
from owdfa.inference.onnx_file import ModelNote, OnnxSession, properties_of
from owdfa.inference.onnx_graph import Graph, to_onnx
from owdfa.inference.predictor import Predictor
from owdfa.inference.session import ComputeOptions
from owdfa.loading.pixels import resize
from owdfa.loading.views import PlainView
from owdfa.methods.supervised import Supervised, SupervisedSettings
from owdfa.records.predictions import Predictions
from owdfa.records.split import Split
from owdfa.runs import checkpoint
from owdfa.runs.run import Run, create_imported
from owdfa.runs.settings import load_settings
from owdfa.stages.export import export
from owdfa.stages.predict import predict
from owdfa.stages.train import train
from owdfa.training.evaluation import evaluate
from tiny_data import SIDE, TINY, make_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """CAL, which looks at images 12 pixels wide where the crops are 16; with its graph."""
    output = tmp_path_factory.mktemp("runs") / "run"
    overrides = [*TINY, "method.name=cal", "epochs=1", "data.views.size=12", "onnx=true"]
    return train(data.split, output, settings=load_settings(None, None, overrides))


@pytest.fixture(scope="module")
def model(run, tmp_path_factory):
    """The one that is really exported here: the run's own."""
    path = tmp_path_factory.mktemp("models") / "model.onnx"
    path.write_bytes(run.model.read_bytes())
    return path


@pytest.fixture
def quick(model, monkeypatch):
    """Let ``export`` take the graph that was exported before: seconds less a test."""
    made = onnx.load(model)
    del made.metadata_props[:]
    monkeypatch.setattr(onnx_graph, "to_onnx", lambda *_: made)
    return made


@pytest.fixture(scope="module")
def photos(data, tmp_path_factory):
    """The crops of the test images as lossless files, and one as JPEG of another size."""
    folder = tmp_path_factory.mktemp("photos")
    store = Store.open(data.store)
    ids = Split.read(data.split).with_role("test")["id"].to_pylist()
    for id_, row in zip(ids, store.rows(ids), strict=True):
        Image.fromarray(np.array(store.pixels[row])).save(folder / id_.replace("/", "-"))
    Image.effect_noise((40, 30), 60).convert("RGB").save(folder / "z.jpg")
    return folder


def damaged(path, change):
    content = bytearray(path.read_bytes())
    change(content)
    return bytes(content)


def test_the_model_predicts_what_its_run_predicts(data, run, model, photos, tmp_path):
    for images, split in ((photos, None), ("split:test", data.split)):
        for place in (run.folder, model):
            predict(place, images, tmp_path / place.name, split=split)
        theirs, ours = (Predictions.read(tmp_path / name) for name in ("run", "model.onnx"))
        assert ours.metadata == theirs.metadata.model_copy(update={"run": str(model)})
        assert ours.metadata.engine.startswith("onnxruntime ")
        assert ours.table == theirs.table


def test_a_run_predicts_by_its_graph_what_training_evaluates(data, run):
    """To 1e-4: also where the images are resized, and as PyTorch predicts in the other engine."""
    store, ids = Store.open(data.store), Split.read(data.split).with_role("test")["id"]
    crops = store.crops(store.rows(ids))[:]
    view = PlainView(12, run.metadata.mean, run.metadata.std)
    expected = evaluate(run.method(), store, ids.to_pylist(), view, run.settings)
    for num_callers in (1, 2):
        predictor = Predictor.open(run.folder, num_callers=num_callers)
        assert predictor.session.engine.startswith("onnxruntime ")
        assert predictor.notes == ()
        found = predictor.predict_batch(crops)
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == np.float32
            assert np.abs(one - other).max(initial=0) < 1e-4
    in_bf16 = Predictor.open(run.folder, ComputeOptions(precision="bf16-mixed"))
    assert in_bf16.session.engine.startswith("torch ")


def test_a_graph_of_other_weights_is_not_used(data, run, tmp_path):
    other = Run(tmp_path / "run", run.metadata, run.settings)
    other.write()
    (other.folder / "model.onnx").write_bytes(run.model.read_bytes())
    checkpoint.write(
        other.checkpoint, checkpoint.Note(1, run.num_active), run.method().state_dict()
    )
    assert Predictor.open(other.folder).session.engine.startswith("onnxruntime ")
    weights = {name: value + 1 for name, value in run.method().state_dict().items()}
    weights["prototypes.active"] -= 1
    checkpoint.write(other.checkpoint, checkpoint.Note(1, run.num_active), weights)
    predictor = Predictor.open(other.folder)
    assert predictor.session.engine.startswith("torch ")
    (note,) = predictor.notes
    assert "model.onnx: was made of other weights; PyTorch predicts" in note
    assert f"owdfa export {other.folder} -o {other.folder}/model.onnx" in note


def test_a_method_that_cannot_be_exported_predicts_by_pytorch(data, tmp_path, monkeypatch):
    def fails(*_):
        raise UserError("method X on Y: cannot be exported (reason)")

    monkeypatch.setattr(onnx_graph, "to_onnx", fails)
    overrides = [*TINY, "method.name=cal", "epochs=1", "onnx=true"]
    run = train(data.split, tmp_path / "run", settings=load_settings(None, None, overrides))
    assert run.metadata.complete
    assert not run.model.exists()
    made = predict(run.folder, "split:test", tmp_path / "p.parquet")
    assert made.metadata.engine.startswith("torch ")
    assert made.notes[0].startswith("method X on Y: cannot be exported (reason); PyTorch predicts")


def test_a_run_stopped_before_its_graph_was_written_gets_it_when_resumed(
    data, run, tmp_path, quick
):
    again = tmp_path / "run"
    shutil.copytree(run.folder, again)
    (again / "model.onnx").unlink()
    (note,) = Predictor.open(again).notes
    assert "model.onnx: no such file" in note
    train(data.split, again, resume=True)
    assert Predictor.open(again).notes == ()


def test_the_model_says_what_it_is(run, model):
    note = ModelNote.model_validate_json(_metadata(model)["owdfa"])
    assert note.classes[:2] == run.known
    assert len(note.classes) == run.num_active
    assert (note.num_known, note.store_size, note.image_size) == (2, SIDE, 12)
    assert (note.faces, note.enlarge) == ("none", 1.2)
    assert note.provenance == run.metadata.provenance
    assert note.parity.images == "split:test"
    assert note.parity.num_images == 12
    assert 0 <= note.parity.probabilities <= 1e-5
    assert 0 < note.parity.embedding <= 1e-5
    content = model.read_bytes()
    for private in (run.folder, Path(owdfa.__file__).parent, Path(torch.__file__).parent):
        assert str(private).encode() not in content


def _metadata(path):
    return {prop.key: prop.value for prop in onnx.load(path).metadata_props}


def test_the_model_takes_batches_of_any_size(model):
    session = OnnxSession(model.read_bytes(), "model")
    crops = np.random.default_rng(0).integers(0, 256, (9, SIDE, SIDE, 3), dtype=np.uint8)
    whole = session.predict_batch(crops)
    for first, last in ((0, 1), (1, 9)):
        for all_, part in zip(whole, session.predict_batch(crops[first:last]), strict=True):
            assert np.allclose(part, all_[first:last], atol=1e-6)


@pytest.mark.parametrize(
    ("before", "after"), [(292, 256), (64, 48), (16, 32), (256, 64), (100, 17), (300, 299)]
)
def test_the_graph_resizes_to_the_same_bits(before, after):
    crops = np.random.default_rng(0).integers(0, 256, (2, before, before, 3), dtype=np.uint8)
    crops[1] = 255 * (crops[1] > 127)
    levels = torch.from_numpy(crops).permute(0, 3, 1, 2)
    made = onnx_graph._Resize(before, after)
    found = made(levels.float())
    assert np.array_equal(found.permute(0, 2, 3, 1).numpy(), resize(crops, after))
    assert made.weights.max() < 2**15
    assert np.allclose(made.weights.sum(dim=1) / made.unit, 1, atol=1e-3)


def test_nothing_is_written_when_the_graph_says_something_else(run, quick, tmp_path):
    for tensor in quick.graph.initializer:
        if tensor.name.endswith("stem.0.weight"):
            values = onnx.numpy_helper.to_array(tensor) * np.float32(1.01)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
            break
    else:
        raise AssertionError("no such weights")
    output = tmp_path / "model.onnx"
    older = b"owdfa.sha256\x12\x40" + b"0" * 64  # what an earlier export looks like at its end
    output.write_bytes(older)
    with pytest.raises(UserError, match=r"differs from the network by .* nothing is written"):
        export(run.folder, output)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert output.read_bytes() == older


def test_what_is_no_number_does_not_pass(run, quick, tmp_path):
    for tensor in quick.graph.initializer:
        if tensor.name.endswith("neck.norm.weight"):
            values = np.full(tuple(tensor.dims), np.nan, np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    with pytest.raises(UserError, match="nothing is written"):
        export(run.folder, tmp_path / "model.onnx")


def test_images_to_compare_on_can_be_named(run, quick, photos, tmp_path):
    note = export(run.folder, tmp_path / "m.onnx", check=photos)
    assert (note.parity.images, note.parity.num_images) == (photos.name, 13)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    note = export(run.folder, tmp_path / "m.onnx", check=[broken, photos / "z.jpg"])
    assert note.parity.num_images == 1
    with pytest.raises(UserError, match=r"none of 1 images can be used; first .*broken\.png: is n"):
        export(run.folder, tmp_path / "m.onnx", check=broken)


def test_without_a_split_images_must_be_named(run, quick, photos, tmp_path):
    weights = run.method().state_dict()
    bare = create_imported(
        tmp_path / "bare", run.settings, run.known, weights, faces="none", store_size=SIDE
    )
    with pytest.raises(UserError, match="name images to compare on with --check"):
        export(bare.folder, tmp_path / "m.onnx")
    export(bare.folder, tmp_path / "m.onnx", check=photos)
    assert Predictor.open(tmp_path / "m.onnx").provenance.split_digest is None


def test_other_files_are_no_models(run, model, photos, tmp_path):
    whole, path, output = model.read_bytes(), tmp_path / "m.onnx", tmp_path / "p.parquet"

    def refused(content, reason):
        path.write_bytes(content)
        with pytest.raises(UserError, match=reason) as error:
            predict(path, photos, output)
        assert "\n" not in str(error.value)
        assert str(path) in str(error.value)

    refused(b"", "is damaged, or not an ONNX model")
    refused(b"hello\n" * 99, "is damaged, or not an ONNX model")
    refused(whole[: len(whole) // 2], "is damaged")
    at = whole.index(np.float32(1 / (255 * 0.229)).tobytes())  # a weight: still a fine graph
    refused(damaged(model, lambda c: c.__setitem__(at, c[at] ^ 1)), "is damaged .its SHA-256")
    note = ModelNote.model_validate_json(_metadata(model)["owdfa"])
    foreign = onnx.load(model)
    del foreign.metadata_props[:]
    graph = foreign.SerializeToString()
    assert graph == whole[: note.graph_bytes]
    refused(graph, "is an ONNX model, but not a model that owdfa export made")
    at = whole.index(b'"novel-01"') + 2
    refused(damaged(model, lambda c: c.__setitem__(at, c[at] ^ 1)), "is damaged .its SHA-256")
    for change, reason in (
        ({"schema_": "owdfa/model/9"}, "schema"),
        ({"enlarge": 1.3}, "enlarges"),
    ):
        onnx.helper.set_model_props(foreign, properties_of(graph, note.model_copy(update=change)))
        refused(foreign.SerializeToString(), reason)
    path.unlink()
    with pytest.raises(UserError, match="no such file; a model that owdfa export made"):
        predict(path, photos, output)
    assert not output.exists()


def test_a_model_computes_as_it_was_made(model, photos, tmp_path):
    output = tmp_path / "p.parquet"
    told = predict(model, photos, output, device="cpu", precision="32-true")
    assert told.metadata.provenance.precision == "32-true"
    for asked in ({"device": "cuda"}, {"precision": "bf16-mixed"}):
        with pytest.raises(UserError, match=r"model\.onnx: .* leave --device and --precision out"):
            predict(model, photos, output, **asked)


def test_the_extra_that_is_missing_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"^onnx is not installed; pip install 'owdfa\[train\]'"):
        export(run.folder, tmp_path / "m.onnx", check="split:test")


def test_what_is_too_large_for_a_file_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_graph, "_MAX_BYTES", 1000)
    with pytest.raises(UserError, match="bytes of weights: an ONNX file holds at most 1,000"):
        export(run.folder, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_predicting_on_a_cpu_imports_no_torch_writes_nothing_at_home_and_leaves_the_environment(
    run, model, photos, tmp_path
):
    program = (
        "import os, sys\nfrom pathlib import Path\nbefore = dict(os.environ)\n"
        "from owdfa.stages.predict import predict\n"
        "predict(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))\n"
        "heavy = ('torch', 'onnx', 'sklearn', 'scipy')\n"
        "print([name for name in heavy if name in sys.modules], dict(os.environ) == before)"
    )
    home = tmp_path / "home"
    home.mkdir()
    places = ("CACHE_HOME", "CONFIG_HOME", "DATA_HOME", "STATE_HOME", "RUNTIME_DIR")
    environment = {name: value for name, value in os.environ.items() if "TELEMETRY" not in name}
    environment |= {f"XDG_{name}": str(home / name.lower()) for name in places}
    for source, images in ((model, photos), (run.folder, photos), (run.folder, "split:test")):
        command = [sys.executable, "-c", program, source, images, tmp_path / "p.parquet"]
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            env=environment | {"HOME": str(home)},
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "[] True\n", "")
        assert list(home.iterdir()) == []


def test_the_documented_use_without_this_package(model, photos, tmp_path):
    page = Path(__file__).parents[1] / "docs" / "export.md"
    (program,) = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    assert "owdfa" not in re.findall(r"^(?:import|from) (\w+)", program, flags=re.MULTILINE)
    files = sorted(photos.iterdir())
    command = [sys.executable, "-c", program, model, *files]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    predict(model, files, tmp_path / "p.parquet")
    rows = Predictions.read(tmp_path / "p.parquet").table.to_pylist()
    for line, row in zip(done.stdout.splitlines(), rows, strict=True):
        path, name, confidence = line.split("\t")
        assert (path, name) == (row["id"], row["prediction"])
        assert float(confidence) == pytest.approx(row["confidence"], abs=1e-3)


def test_the_commands(data, run, quick, tmp_path, monkeypatch, capsys):
    output = tmp_path / "m.onnx"
    monkeypatch.setattr(sys, "argv", ["owdfa", "export", str(run.folder), "-o", str(output)])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr()
    assert (end.value.code, said.err) == (0, "")
    assert re.search(r"m\.onnx: \d+ classes, 2 of them known; \d\.\d MB", said.out)
    assert re.search(r"largest difference on 12 images of split:test: \d\.\de-\d\d", said.out)
    table = str(tmp_path / "p.parquet")
    given = ["predict", str(output), "split:test", "--split", str(data.split), "-o", table]
    monkeypatch.setattr(sys, "argv", ["owdfa", *given])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    assert Predictions.read(Path(table)).table.num_rows == 12


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torchvision/resnet18", "timm/test_resnet"])
def test_other_backbones_are_exported(name, recwarn, capfd):
    torch.manual_seed(0)
    backbone = build(name)
    method = Supervised(backbone, 3, None, SupervisedSettings())
    method(2 * torch.randn(4, 3, 32, 32))  # statistics of its own
    view = PlainView(32, backbone.mean, backbone.std)
    crops = np.random.default_rng(0).integers(0, 256, (5, 36, 36, 3), dtype=np.uint8)
    made = to_onnx(Graph(method.eval(), view, 36).eval(), crops[:2])
    assert capfd.readouterr() == ("", "")
    assert not list(recwarn)
    found = OnnxSession(made.SerializeToString(), name).predict_batch(crops)
    with torch.no_grad():
        outputs = method(view(crops))
    expected = (outputs.logits.softmax(dim=1), outputs.embedding)
    for one, other in zip(found[:2], expected, strict=True):
        assert np.allclose(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))
