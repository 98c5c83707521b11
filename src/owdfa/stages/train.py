"""Train: fit a method to a split. What happens to a batch can be read in ``_fit`` alone."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.optim import Optimizer

from owdfa.attribution.calibrate import calibrate_trained
from owdfa.devices import algorithms, autocast, find_device, seed_step
from owdfa.distributed import (
    all_gather_features,
    average_gradients,
    barrier,
    is_first_process,
    launched,
    start_process_group,
    sync_batch_norm,
)
from owdfa.files import write_text
from owdfa.images.store import Store
from owdfa.loading.batches import TrainingLoader
from owdfa.loading.views import PlainView, TrainingViews
from owdfa.methods.base import Method
from owdfa.progress import OnProgress, no_progress
from owdfa.records.split import Split, TrainingRows
from owdfa.records.training import Progress
from owdfa.runs.data import open_store
from owdfa.runs.lock import writing
from owdfa.runs.metadata import RunImages
from owdfa.runs.run import Run, describe
from owdfa.runs.settings import RunSettings, load_settings
from owdfa.training.checkpoints import CheckpointManager, open_for_resume
from owdfa.training.continual import check_continued, check_crops, known_classes, notes_on_test
from owdfa.training.continual.network import continue_network
from owdfa.training.continual.rehearsal import Rehearsal, keep_class_statistics
from owdfa.training.evaluation import fit_inputs
from owdfa.training.features import keep_features_of_split
from owdfa.training.initial_weights import check_method, initial_method
from owdfa.training.launch import end_with_launcher, run_processes
from owdfa.training.meter import Meter, summary
from owdfa.training.num_classes import ClassCount, check_num_classes
from owdfa.training.optimize import optimize_for_training
from owdfa.training.optimizer import build_optimizer, learning_rate, move_rows
from owdfa.training.selection import LOGGED_AS, Evaluator, make_evaluator
from owdfa.training.self_training import add_pseudo_labels, check_pseudo_labels


def train(
    split: Path,
    output: Path,
    *,
    settings: RunSettings | None = None,
    resume: bool = False,
    store: Path | None = None,
    on_progress: OnProgress = no_progress,
) -> Run:
    """Train a method on the labelled and unlabelled images of a split.

    A run that was stopped, even by ``kill -9``, and resumed is bit-identical with one that was
    not, on the same machine and with as many processes. Resuming a complete run does nothing.

    With ``settings.devices`` above 1, processes are started that share each batch; where torchrun
    started them, this is one of them.

    Args:
        split: Folder of the split.
        output: The run folder to make, or to continue.
        settings: Of the run; None for the default method's, or, when resuming, those of the run.
        resume: Continue the run in ``output``; start it when there is none.
        store: Folder of the crops; None for the one that the manifest of the split names.
        on_progress: Called every few steps, in the first process, with the steps done.

    Returns:
        The complete run.

    Raises:
        UserError: The inputs do not belong together, ``output`` holds a run and ``resume`` is not
            set, the loss is not finite, or a process failed.
    """
    # Of several processes the first one writes, and has the lock.
    with writing(output) if is_first_process() else nullcontext():
        run = _train(split, output, settings, resume, store, on_progress)
        if is_first_process():
            calibrate_trained(run, split, store)
            keep_class_statistics(run, split, store)
        return run


def _train(
    split: Path,
    output: Path,
    settings: RunSettings | None,
    resume: bool,
    store: Path | None,
    on_progress: OnProgress,
) -> Run:
    data = Split.read(split, ("id", "role", "class"))
    run = open_for_resume(output, data, settings, resume=resume)
    if run is not None and run.metadata.complete:
        return _with_model(run, split, data, store)
    settings = run.settings if run else settings or load_settings()
    names = _label_names(settings, data)
    check_settings(settings, data, resumes=run is not None)
    if settings.devices > 1 and not launched():
        return _train_in_processes(split, output, settings, store)
    end_with_launcher()
    device = find_device(settings.device)
    start_process_group(device)
    report = on_progress if is_first_process() else no_progress
    crops = open_store(split, data, store)
    check_crops(settings, crops)
    features = keep_features_of_split(settings, data, crops, device, report)
    classes = ClassCount(output, settings, data, crops, run.estimated_classes if run else None)
    earlier = _train_stages(split, output, classes, resume, store, report)
    with algorithms(deterministic=settings.deterministic):
        start = classes.resolve(settings, earlier, last=True)
        start = start.with_weights(earlier) if earlier else start
        torch.manual_seed(settings.seed)
        method = initial_method(start, len(names), earlier)
        if start.continual is not None and method.is_trained():
            continue_network(method, start, names, data.training_rows(), crops)
        training = _Training.prepare(start, method, data, crops, device)
        if run is None:
            images = RunImages.of(output, split, crops)
            known = known_classes(settings, data)
            metadata = describe(start, method, known, images, data.digest(), device)
            update = {"novel_labels": names[len(known) :], "features": features}
            update["notes"] = notes_on_test(settings, data)
            run = Run(output, metadata.model_copy(update=update), settings)
            barrier()  # every process has seen that there is no run before the first makes it
            if is_first_process():
                run.write()
        run = _fit(run, training, report)
    return _with_model(run, split, data, store)


def check_settings(settings: RunSettings, data: Split, *, resumes: bool = False) -> None:
    """Refuse what cannot be trained before anything is.

    Raises:
        UserError: The settings do not fit the method or the split.
    """
    check_continued(settings, data)
    check_pseudo_labels(settings)
    if not resumes:  # else the number of classes is known, and what it is from may be gone
        check_num_classes(settings, data)
    check_method(settings, len(_label_names(settings, data)))


def _label_names(settings: RunSettings, data: Split) -> tuple[str, ...]:
    """Classes that training images have labels of."""
    known = known_classes(settings, data)
    return known + (data.novel if settings.labels == "all" else ())


def _train_stages(
    split: Path,
    output: Path,
    classes: ClassCount,
    resume: bool,
    store: Path | None,
    on_progress: OnProgress,
) -> Path | None:
    """Train what comes before, each from the backbone of the one before; give the last's folder."""
    earlier = None
    for stage in classes.settings.stages:
        before = classes.resolve(classes.settings.stage(stage), earlier, last=False)
        if earlier is not None:
            before = before.with_weights(earlier)
        folder, report = output / "stages" / stage.name, _named(stage.name, on_progress)
        with writing(folder) if is_first_process() else nullcontext():
            earlier = _train(split, folder, before, resume, store, report).folder
    return earlier


@dataclass(frozen=True)
class _Training:
    """What is trained, and on what."""

    method: Method
    optimizer: Optimizer
    rows: TrainingRows
    counts: dict[str, int]  # of images, for the log
    loader: TrainingLoader
    evaluator: Evaluator | None
    store: Store
    view: PlainView
    device: torch.device
    rehearsal: Rehearsal | None  # of known classes without images

    @classmethod
    def prepare(
        cls,
        settings: RunSettings,
        method: Method,
        data: Split,
        store: Store,
        device: torch.device,
    ) -> "_Training":
        mean, std = method.backbone.mean, method.backbone.std
        view = PlainView(settings.data.views.size, mean, std)
        views = TrainingViews(method.views, settings.data.views, settings.seed)
        rows = data.training_rows(all_labels=settings.labels == "all")
        counts = {}
        if settings.pseudo_label_confidence is not None:
            num_before = rows.num_labelled
            rows = add_pseudo_labels(rows, settings, store, method.num_active)
            counts["pseudo_labels"] = rows.num_labelled - num_before
        rows = rows if method.uses_unlabelled else rows.only_labelled()
        method.begin_training(torch.from_numpy(rows.labels))
        loader = TrainingLoader(store, rows, settings.data, views, pin_memory=device.type == "cuda")
        evaluator = make_evaluator(settings, data, store, view)
        method.to(device)
        sync_batch_norm(method, device)
        rehearsal = Rehearsal.find(settings, data)
        if rehearsal is not None:
            rehearsal.freeze(method, settings)
        optimize_for_training(method, settings)
        optimizer = build_optimizer(method, settings.optimiser)
        return cls(
            method, optimizer, rows, counts, loader, evaluator, store, view, device, rehearsal
        )


def _fit(run: Run, training: _Training, on_progress: OnProgress) -> Run:
    """The training loop, whole."""
    settings, method, optimizer = run.settings, training.method, training.optimizer
    num_steps, rehearsal = len(training.loader), training.rehearsal
    with CheckpointManager(run, method, optimizer) as manager:
        for epoch in range(manager.epochs, settings.epochs):
            progress, meter = Progress(epoch, settings.epochs), Meter(epoch)
            lr = learning_rate(settings.optimiser, settings.schedule, progress)
            for group in optimizer.param_groups:
                group["lr"] = lr
            method.train()
            if rehearsal is not None:
                rehearsal.hold_statistics(method)
            for step, batch in enumerate(training.loader.epoch(epoch), start=1):
                seed_step(settings.seed, epoch, step)
                batch = batch.to(training.device)
                method.begin_step(batch.rows)
                with autocast(training.device, settings.precision):
                    images = [method.backbone.normalise(view) for view in batch.views]
                    views = [method.features(view) for view in images]
                    views = [all_gather_features(each, len(batch.labels)) for each in views]
                    losses = method.objective(tuple(views), batch.labels, progress)
                    if rehearsal is not None:
                        losses = rehearsal.add_to(losses, method, len(batch.labels))
                optimizer.zero_grad(set_to_none=True)
                losses.total.backward()
                average_gradients(method)
                optimizer.step()
                meter.add(losses, batch)
                if step % settings.log_every == 0 or step == num_steps:
                    reading = meter.read()
                    manager.log("step", {"epoch": epoch, "step": step, **reading.flat()})
                    note = summary(progress, reading, method.num_active)
                    on_progress(epoch * num_steps + step, settings.epochs * num_steps, note)

            seed_step(settings.seed, epoch, num_steps + 1)
            end = method.end_epoch(progress)
            for move in end.moves:
                move_rows(optimizer, move)
            score = training.evaluator(method) if training.evaluator else None
            measured = {} if score is None else {LOGGED_AS[settings.selection]: score}
            line = {**meter.line(), "num_active": method.num_active, "lr": lr}
            line |= training.counts
            manager.log("epoch", {**end.log, **line, **measured})
            manager.end_epoch(score)
        return manager.finish(_whole_fit(training, settings))


def _whole_fit(training: _Training, settings: RunSettings) -> Callable[[], None] | None:
    """What fits the method to all training images at the end; None where it has nothing to fit."""
    method = training.method
    return None if type(method).finish is Method.finish else partial(_finish, training, settings)


def _finish(training: _Training, settings: RunSettings) -> None:
    rows = training.rows
    seed_step(settings.seed, settings.epochs, 0)
    method = training.method
    inputs = fit_inputs(method, training.store, rows.ids, training.view, settings)
    whole = torch.from_numpy(inputs), torch.from_numpy(rows.labels)
    if training.rehearsal is not None:
        drawn = training.rehearsal.draw(training.rehearsal.statistics.counts)
        whole = torch.cat([whole[0], drawn[0]]), torch.cat([whole[1], drawn[1]])
    with torch.no_grad():
        method.finish(*whole)


def _with_model(run: Run, split: Path, data: Split, store: Path | None) -> Run:
    """Write the graph by which a CPU predicts, once the training is complete."""
    if not run.settings.onnx or not is_first_process():
        return run
    from owdfa.inference.onnx_graph import ensure_model

    roles = ("test", "validation", "labelled")
    ids = {role: data.with_role(role)["id"].to_pylist() for role in roles}
    return ensure_model(run, open_store(split, data, store), ids)


def _named(stage: str, on_progress: OnProgress) -> OnProgress:
    """Progress of an earlier training, with its name before the note."""
    return lambda done, total, note="": on_progress(done, total, f"{stage}: {note}")


def _train_in_processes(
    split: Path, output: Path, settings: RunSettings, store: Path | None
) -> Run:
    """Start the command for these settings once for each device; its first process reports."""
    with TemporaryDirectory() as folder:
        config = Path(folder) / "settings.toml"
        write_text(config, settings.to_toml())
        arguments = ["train", "--split", str(split), "-o", str(output), "--resume"]
        arguments += ["--recipe", "none", "--config", str(config)]
        if store is not None:
            arguments += ["--store", str(store)]
        run_processes(arguments, settings.devices)
    return Run.open(output)
