"""Train: fit a method to a split. What happens to a batch can be read in ``_fit`` alone."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.optim import Optimizer

from owdfa.distributed import average_gradients, naming_a_lost_process, own_share, whole_batch
from owdfa.images.views import PlainView
from owdfa.loader import TrainingLoader
from owdfa.methods.base import Method
from owdfa.records.split import Split
from owdfa.records.training import Progress
from owdfa.runs.run import Images, Run, describe, open_store
from owdfa.runs.settings import RunSettings, load_settings
from owdfa.training.devices import seed_step
from owdfa.training.fabric import start
from owdfa.training.fast import algorithms, make_fast
from owdfa.training.feed import DeviceFeed, build_loader
from owdfa.training.first_weights import build_method
from owdfa.training.keeper import Keeper, begun
from owdfa.training.launch import Tell, launch, launched
from owdfa.training.meter import Meter
from owdfa.training.optimizers import build_optimizer, move_rows, set_learning_rate
from owdfa.training.progress import OnProgress, TrainingState, look_away
from owdfa.training.selection import LOGGED_AS, Judge, judge_for


def train(
    split: Path,
    output: Path,
    *,
    settings: RunSettings | None = None,
    resume: bool = False,
    store: Path | None = None,
    on_progress: OnProgress | None = None,
) -> Run:
    """Train a method on the labelled and unlabelled images of a split.

    A run that was stopped, even by ``kill -9``, and resumed ends with the same bits as one that
    was not, on the same machine and with as many processes. Resuming a complete run does nothing.

    With ``settings.devices`` above 1, processes are started here that share the work; where
    torchrun has started them, this is one of them. The result is that of one process, up to
    rounding.

    Args:
        split: Folder of the split.
        output: The run folder to make, or to go on with.
        settings: Of the run; None for the paper's, or, when resuming, those it began with.
        resume: Go on with the run in ``output``; begin it when there is none.
        store: Folder of the crops; None for the one that the manifest of the split names.
        on_progress: Called every few steps, in the first process.

    Returns:
        The complete run.

    Raises:
        UserError: The inputs do not belong together, ``output`` holds a run and ``resume`` is not
            set, the loss is not finite, or a process was killed.
    """
    data = Split.read(split, ("id", "role", "class"))
    run = begun(output, data, settings, resume=resume)
    if run is not None and run.facts.complete:
        return run
    settings = run.settings if run else settings or load_settings()
    crops = open_store(split, data, store)
    if settings.devices > 1 and not launched():
        table = settings.model_dump(exclude_none=True)
        work = partial(_one_of_several, split, output, table, resume=resume, store=store)
        launch(work, settings.devices, on_progress or look_away)
        return Run.open(output)
    with naming_a_lost_process(), algorithms(same_bits=settings.deterministic):
        fabric = start(settings.device, settings.precision, together=launched())
        told = on_progress if on_progress and own_share().rank == 0 else look_away
        warm = _warm_start(split, output, settings, resume=resume, store=store, on_progress=told)
        torch.manual_seed(settings.seed)
        method = build_method(settings, len(data.known), warm)
        facts = describe(settings, method, data.known, Images.of(split, data, crops), fabric.device)
        view = PlainView(facts.image_size, facts.mean, facts.std)
        judge = judge_for(settings.selection, data, crops, view, settings.data.batch_size)
        rows = data.training_rows()
        loader = build_loader(
            crops,
            rows if method.uses_unlabelled else rows.only_labelled(),
            settings,
            method.backbone,
            fabric.device,
        )
        fabric.barrier()  # every process has seen that there is no run before the first makes it
        if run is None:
            run = Run(output, facts, settings)
            if own_share().rank == 0:
                run.write()
        return _fit(run, method, loader, fabric, judge, told)


def _one_of_several(
    split: Path,
    output: Path,
    table: dict[str, Any],
    tell: Tell,
    *,
    resume: bool,
    store: Path | None,
) -> None:
    """What each process does that ``train`` starts."""
    settings = load_settings(None, None, (), table)
    train(split, output, settings=settings, resume=resume, store=store, on_progress=tell)


def _warm_start(
    split: Path,
    output: Path,
    settings: RunSettings,
    *,
    resume: bool,
    store: Path | None,
    on_progress: OnProgress,
) -> Path | None:
    """Train the run that the backbone is taken from, if one is asked for."""
    if not settings.warm_start.epochs:
        return None
    run = train(
        split,
        output / "warm_start",
        settings=settings.first_stage(),
        resume=resume,
        store=store,
        on_progress=lambda state: on_progress(state._replace(warm_start=True)),
    )
    return run.folder


def _fit(
    run: Run,
    method: Method,
    loader: TrainingLoader | DeviceFeed,
    fabric: Fabric,
    judge: Judge | None,
    on_progress: OnProgress,
) -> Run:
    """The training loop, whole."""
    settings, num_steps = run.settings, len(loader)
    fabric.to_device(method)
    make_fast(method, settings, fabric.device)
    optimizer = build_optimizer(method, settings.optimiser)
    with Keeper(run, method, optimizer, fabric) as keeper:
        for epoch in range(keeper.epochs, settings.epochs):
            progress, meter = Progress(epoch, settings.epochs), Meter(epoch)
            set_learning_rate(optimizer, settings.optimiser, epoch)
            method.train()
            for step, batch in enumerate(loader.epoch(epoch), start=1):
                seed_step(settings.seed, epoch, step)
                batch = batch.to(fabric.device)
                with fabric.autocast(), whole_batch(len(batch.labels)):
                    losses = method.losses(batch, progress)
                optimizer.zero_grad(set_to_none=True)
                fabric.backward(losses.total)
                average_gradients(method)
                optimizer.step()
                meter.add(losses, batch)
                if step % settings.log_every == 0 or step == num_steps:
                    reading = meter.read()
                    keeper.log("step", {"epoch": epoch, "step": step, **reading.flat()})
                    on_progress(
                        TrainingState.of(progress, step, num_steps, reading, method.num_live)
                    )

            seed_step(settings.seed, epoch, num_steps + 1)
            end = method.end_epoch(progress)
            for move in end.moves:
                move_rows(optimizer, move)
            score = judge(method, fabric) if judge else None
            measured = {LOGGED_AS[settings.selection]: score} if judge else {}
            line = _epoch_line(meter, optimizer, method)
            keeper.log("epoch", {**end.log, **line, **measured})
            keeper.end_epoch(score)
    return keeper.finish()


def _epoch_line(meter: Meter, optimizer: Optimizer, method: Method) -> dict[str, float | None]:
    return {
        "epoch": meter.epoch,
        **meter.total().flat(),
        "num_live": method.num_live,
        "images_per_second": round(meter.images_per_second(), 1),
        "lr": optimizer.param_groups[0]["lr"],
    }
