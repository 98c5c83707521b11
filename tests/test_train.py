import json

import numpy as np
import pyarrow.compute as pc
import pytest
import torch

from outside.drift import Drift, DriftSettings
from owdfa.backbones.base import build
from owdfa.devices import algorithms, find_device, seed_step
from owdfa.errors import UserError
from owdfa.images.store import Store
from owdfa.loading.batches import TrainingLoader, plain_batches
from owdfa.loading.views import PlainView, TrainingViews
from owdfa.records.manifest import Manifest
from owdfa.records.split import Split
from owdfa.records.training import Batch, Losses, Progress
from owdfa.runs import checkpoint
from owdfa.runs.run import Run
from owdfa.runs.settings import load_settings
from owdfa.stages.train import train
from owdfa.training.evaluation import evaluate
from owdfa.training.meter import Meter
from owdfa.training.selection import make_evaluator
from tiny_data import CLASSES, DRIFT, TINY, make_data

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VIEW = PlainView(16, MEAN, STD)


def settings(*overrides, base=DRIFT):
    return load_settings(None, None, [*base, *overrides])


def weights(run):
    return (run.checkpoint / "weights.safetensors").read_bytes()


def log_of(run, kind):
    lines = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def by_hand(data, chosen):
    """The same training, written out: plain torch, moments moved by indexing."""
    split, store = Split.read(data.split), Store.open(data.store)
    torch.manual_seed(chosen.seed)
    model = Drift(build(chosen.backbone.name), 2, None, chosen.method)
    views = TrainingViews(("weak", "strong"), chosen.data.views, chosen.seed)
    loader = TrainingLoader(store, split.training_rows(), chosen.data, views)
    rate, decay = chosen.optimiser.lr, chosen.optimiser.weight_decay
    optimizer = torch.optim.Adam(model.parameters(), rate, weight_decay=decay, fused=True)
    for epoch in range(chosen.epochs):
        optimizer.param_groups[0]["lr"] = rate * 0.5 ** (epoch // 2)
        for step, batch in enumerate(loader.epoch(epoch)):
            seed_step(chosen.seed, epoch, step + 1)
            images = (model.backbone.normalise(view) for view in batch.views)
            weak, strong = (model.features(view) for view in images)
            loss = model.objective((weak, strong), batch.labels, Progress(epoch, 3)).total
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        before = model.rows.detach().clone()
        model.end_epoch(Progress(epoch, 3))
        order = [int((before == row).all(dim=1).nonzero()) for row in model.rows.detach()]
        for moment in ("exp_avg", "exp_avg_sq"):
            old = optimizer.state[model.rows][moment].clone()
            for new_place, old_place in enumerate(order):
                optimizer.state[model.rows][moment][new_place] = old[old_place]
    return model.state_dict()


def test_the_loop_is_plain_training(data, tmp_path):
    chosen = settings("schedule={name='step', every=2, gamma=0.5}")
    run = train(data.split, tmp_path / "run", settings=chosen)
    found = checkpoint.read_weights(run.checkpoint)
    expected = by_hand(data, chosen)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0, msg=name)


def test_a_run_folder_holds_what_the_run_rests_on(data, tmp_path):
    chosen = settings("seed=3")
    run = train(data.split, tmp_path / "run", settings=chosen)
    facts = json.loads((run.folder / "run.json").read_text())
    basis = facts["provenance"]
    assert facts["schema"] == "owdfa/run/2"
    assert basis["split_digest"] == Split.read(data.split).digest()
    assert (basis["method"], facts["known"]) == ("outside.drift", list(CLASSES[:2]))
    assert (facts["num_classes"], facts["classes"]) == (4, "auto")
    assert (basis["seed"], facts["trained_epochs"], facts["complete"]) == (3, 3, True)
    assert {"python", "torch", "device", "threads", "date"} <= basis["environment"].keys()
    assert any((run.folder / "tensorboard").iterdir())
    opened = Run.open(run.folder)
    assert opened.metadata == run.metadata
    assert opened.settings.differences(chosen) == []


def test_the_log_has_every_term(data, tmp_path):
    run = train(data.split, tmp_path / "run", settings=settings())
    epochs, steps = log_of(run, "epoch"), log_of(run, "step")
    assert [line["epoch"] for line in epochs] == [0, 1, 2]
    expected = {"loss", "ce", "pull", "warmth", "num_active", "labelled_accuracy", "lr"}
    assert all(expected | {"images_per_second"} <= line.keys() for line in epochs)
    for line in epochs:
        own = [step for step in steps if step["epoch"] == line["epoch"]]
        assert line["ce"] == pytest.approx(np.mean([step["ce"] for step in own]))
        assert line["loss"] == pytest.approx(line["ce"] + 0.5 * line["pull"])


def test_progress_counts_steps(data, tmp_path):
    seen = []
    train(
        data.split, tmp_path / "run", settings=settings(), on_progress=lambda *now: seen.append(now)
    )
    assert [done for done, _, _ in seen] == [2, 4, 6, 8, 10, 12]
    assert {total for _, total, _ in seen} == {12}
    notes = [note for _, _, note in seen]
    assert [note.split("  ")[0] for note in notes] == [f"epoch {e}/3" for e in (1, 1, 2, 2, 3, 3)]
    assert all("loss " in note and note.endswith("classes 4") for note in notes)


def test_the_same_seed_gives_the_same_bits_with_any_number_of_workers(data, tmp_path):
    runs = [
        train(data.split, tmp_path / f"run{n}", settings=settings(f"data.workers={n}"))
        for n in (0, 2)
    ]
    assert weights(runs[0]) == weights(runs[1])
    other = train(data.split, tmp_path / "other", settings=settings("seed=1"))
    assert weights(other) != weights(runs[0])


@pytest.mark.parametrize("method", ["outside.drift", "outside.centres", "cal", "supervised"])
def test_hidden_labels_change_no_weight(data, tmp_path, method):
    shuffled = make_data(tmp_path / "data", relabel={"swap": "real", "warp": "swap"})
    tables = [Split.read(each.split).table for each in (data, shuffled)]
    assert pc.sum(pc.not_equal(tables[0]["class"], tables[1]["class"])).as_py() > 10
    chosen = settings(f"method.name={method}", "epochs=1", base=TINY)
    runs = [
        train(each.split, tmp_path / f"run{i}", settings=chosen)
        for i, each in enumerate((data, shuffled))
    ]
    assert weights(runs[0]) == weights(runs[1])


def test_a_loss_that_is_not_finite_is_named(data, tmp_path):
    chosen = settings("method.blow_up_at=1")
    with pytest.raises(UserError, match=r"epoch 2, step 1: loss inf, pull inf"):
        train(data.split, tmp_path / "run", settings=chosen)
    assert checkpoint.read_note(tmp_path / "run" / "checkpoints" / "last").epochs == 1


def test_bfloat16_trains(data, tmp_path):
    run = train(data.split, tmp_path / "run", settings=settings("precision=bf16-mixed", "epochs=1"))
    loaded = checkpoint.read_weights(run.checkpoint)
    assert all(t.isfinite().all() for t in loaded.values())
    assert loaded["rows"].dtype == torch.float32


def test_an_output_that_holds_a_run_is_refused(data, tmp_path):
    train(data.split, tmp_path / "run", settings=settings("epochs=1"))
    with pytest.raises(UserError, match=r"holds a run already \(1 of 1 epochs\).*--resume"):
        train(data.split, tmp_path / "run", settings=settings("epochs=1"))


def test_resuming_a_complete_run_does_nothing(data, tmp_path):
    run = train(data.split, tmp_path / "run", settings=settings("epochs=1"))
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    again = train(data.split, tmp_path / "run", resume=True)
    assert again.metadata == run.metadata
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before


def test_resuming_with_other_settings_or_another_split_is_refused(data, tmp_path):
    train(data.split, tmp_path / "run", settings=settings("epochs=1"))
    chosen = settings("epochs=1", "optimiser.lr=0.02")
    with pytest.raises(UserError, match=r"optimiser.lr 0.01 there, 0.02 here"):
        train(data.split, tmp_path / "run", settings=chosen, resume=True)
    other = make_data(tmp_path / "other", per_class=13)
    with pytest.raises(UserError, match="another split"):
        train(other.split, tmp_path / "run", resume=True)


def test_the_number_of_workers_may_change_when_resuming(data, tmp_path):
    run = train(data.split, tmp_path / "run", settings=settings("epochs=1"))
    chosen = settings("epochs=1", "data.workers=1")
    assert train(data.split, run.folder, settings=chosen, resume=True).metadata == run.metadata


def test_validation_selects_the_best_epoch(data, tmp_path):
    run = train(data.split, tmp_path / "run", settings=settings("selection=validation"))
    scores = [line["validation_accuracy"] for line in log_of(run, "epoch")]
    assert run.metadata.selected_epochs == int(np.argmax(scores)) + 1
    note = checkpoint.read_note(run.folder / "checkpoints" / "validation")
    assert (note.epochs, note.score) == (run.metadata.selected_epochs, max(scores))


def test_validation_accuracy_is_counted_by_hand(data):
    split, store = Split.read(data.split), Store.open(data.store)
    model = Drift(build("tiny/trace8w16"), 2, 6, DriftSettings())
    evaluator = make_evaluator(
        settings("selection=validation", "data.batch_size=3"), split, store, VIEW
    )
    rows = split.validation_rows()
    (batch,) = plain_batches(store, rows.ids, VIEW, batch_size=100)
    found = evaluator(model)
    assert model.training
    guess = model.eval()(batch.images).logits.argmax(dim=1).tolist()
    right = sum(g == label for g, label in zip(guess, rows.labels.tolist(), strict=True))
    assert found == right / len(guess)


def test_validation_without_held_back_images_is_refused(data, tmp_path):
    tiny = make_data(tmp_path / "data", per_class=3)  # too few for any to be held back
    with pytest.raises(UserError, match="--validation"):
        train(tiny.split, tmp_path / "run", settings=settings("selection=validation"))


def test_the_oracle_is_asked_for_by_name_and_stamped(data, tmp_path):
    run = train(data.split, tmp_path / "run", settings=settings("selection=oracle"))
    scores = [line["oracle_all_acc"] for line in log_of(run, "epoch")]
    assert run.metadata.selected_epochs == int(np.argmax(scores)) + 1
    assert json.loads((run.folder / "run.json").read_text())["provenance"]["selection"] == "oracle"


def test_a_split_of_other_images_is_refused(data, tmp_path):
    other = make_data(tmp_path / "other", per_class=13)
    with pytest.raises(UserError, match="was not made from the images in the store"):
        train(other.split, tmp_path / "run", settings=settings(), store=data.store)


def test_images_that_were_not_prepared_are_refused(tmp_path):
    data = make_data(tmp_path / "data")
    manifest = Manifest.read(data.manifest)
    Manifest(manifest.table, manifest.dataset).write(data.manifest)
    with pytest.raises(UserError, match=r"not prepared.*owdfa data prepare"):
        train(data.split, tmp_path / "run", settings=settings())


def test_a_run_starts_from_the_backbone_of_an_earlier_one(data, tmp_path):
    base = [*TINY, "epochs=1", "method.name=supervised"]
    first = train(data.split, tmp_path / "first", settings=settings(base=base))
    chosen = settings(f"backbone.weights={first.folder}", "optimiser.lr=1e-30", base=base)
    second = train(data.split, tmp_path / "second", settings=chosen)
    one, two = (checkpoint.read_weights(run.checkpoint) for run in (first, second))
    convolutions = [name for name in one if name.startswith("backbone.") and one[name].dim() == 4]
    assert len(convolutions) > 5
    assert all(torch.equal(one[name], two[name]) for name in convolutions)
    assert not torch.equal(one["classifier.weight"], two["classifier.weight"])


def test_the_number_of_classes_reaches_the_method(data, tmp_path):
    run = train(data.split, tmp_path / "run", settings=settings("classes=5", "epochs=1"))
    assert (run.num_active, run.metadata.num_classes, run.metadata.classes) == (5, 5, 5)


def test_a_meter_keeps_nothing_of_the_steps_that_it_has_read():
    meter, made = Meter(epoch=0), torch.ones((), requires_grad=True)
    batch = Batch((torch.zeros(4, 3, 2, 2),), torch.tensor([0, 1, -1, -1]), torch.arange(4))
    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    for factor in (1.0, 2.0, 3.0):
        meter.add(Losses(made * factor, {"ce": made * factor}, logits), batch)
    assert meter.read() == ({"loss": 2.0, "ce": 2.0}, 0.5)
    assert not meter._rows
    meter.add(Losses(made * 6, {"ce": made * 6}, logits), batch)
    meter.read()
    assert meter.total() == ({"loss": 3.0, "ce": 3.0}, 0.5)


def test_the_choice_of_algorithms_is_a_matter_of_the_run():
    before = torch.backends.cudnn.benchmark
    with algorithms(deterministic=True):
        assert torch.are_deterministic_algorithms_enabled()
    with algorithms(deterministic=False):
        assert torch.backends.cudnn.benchmark
        assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark == before


def test_evaluation_gives_what_the_method_says_and_leaves_it_as_it_was(data):
    store = Store.open(data.store)
    model = Drift(build("tiny/trace8w16"), 2, None, DriftSettings()).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ids = store.ids[::-1]
    found = evaluate(model, store, ids, VIEW, settings("data.batch_size=5"))
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    (batch,) = plain_batches(store, ids, VIEW, batch_size=100)
    with torch.no_grad():
        outputs = model.eval()(batch.images)
    for ours, expected in zip(
        found[:2], (outputs.logits.softmax(1), outputs.embedding), strict=True
    ):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="device=cpu"):
        find_device("cuda")
    assert find_device("auto") == torch.device("cpu")


def test_each_of_several_processes_takes_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert find_device("cuda") == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match=r"this machine has 2 GPUs; .*fewer devices"):
        find_device("auto")
