"""Train: fit a method to a split. What happens to a batch can be read in ``_fit`` alone."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.fabric import Fabric
from torch.optim import SGD, Adam, AdamW, Optimizer

from owdfa.errors import UserError
from owdfa.images.views import PlainView
from owdfa.loader import TrainingLoader
from owdfa.methods.base import Method
from owdfa.records.split import Split
from owdfa.records.training import Progress
from owdfa.runs import checkpoint
from owdfa.runs.run import Images, Run, describe, open_store
from owdfa.runs.settings import OptimiserSettings, RunSettings, load_settings
from owdfa.runs.tracking import Log
from owdfa.training.devices import deterministic, seed_step, start
from owdfa.training.first_weights import build_method
from owdfa.training.meter import Meter, Reading
from owdfa.training.optimizers import move_rows
from owdfa.training.selection import LOGGED_AS, Judge, judge_for
from owdfa.weights import fit


class TrainingState(NamedTuple):
    """Where a training stands, for a progress bar."""

    epoch: int  # from 0
    epochs: int
    step: int  # how many of the epoch's are done
    steps: int
    loss: float  # mean of the last few steps
    labelled_accuracy: float  # of the same; nan when none of their images had a label
    num_live: int
    warm_start: bool = False  # the supervised training that comes before

    @property
    def done(self) -> int:
        """Steps done since the training began."""
        return self.epoch * self.steps + self.step

    @property
    def total(self) -> int:
        """Steps of the whole training."""
        return self.epochs * self.steps

    def summary(self) -> str:
        """What a person wants to see while waiting."""
        labelled = "-" if math.isnan(self.labelled_accuracy) else f"{self.labelled_accuracy:.0%}"
        stage = "warm start, " if self.warm_start else ""
        return (
            f"{stage}epoch {self.epoch + 1}/{self.epochs}  loss {self.loss:.3f}"
            f"  labelled {labelled}  live {self.num_live}"
        )


_FREE = "data.workers "  # changes no result: the one setting that a resumed run may change

OnProgress = Callable[[TrainingState], None]


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
    was not, on the same machine. Resuming a complete run does nothing.

    Args:
        split: Folder of the split.
        output: The run folder to make, or to go on with.
        settings: Of the run; None for the paper's, or, when resuming, those it began with.
        resume: Go on with the run in ``output``; begin it when there is none.
        store: Folder of the crops; None for the one that the manifest of the split names.
        on_progress: Called every few steps.

    Returns:
        The complete run.

    Raises:
        UserError: The inputs do not belong together, ``output`` holds a run and ``resume`` is not
            set, or the loss is not finite.
    """
    data = Split.read(split)
    begun = _begun(output, data, settings, resume=resume)
    if begun is not None and begun.facts.complete:
        return begun
    settings = begun.settings if begun else settings or load_settings()
    crops = open_store(split, data, store)
    fabric = start(settings.device, settings.precision)
    warm = _warm_start(split, output, settings, resume=resume, store=store, on_progress=on_progress)
    torch.manual_seed(settings.seed)
    method = build_method(settings, len(data.known), warm)
    facts = describe(settings, method, data.known, Images.of(split, data, crops), fabric.device)
    view = PlainView(facts.image_size, facts.mean, facts.std)
    judge = judge_for(settings.selection, data, crops, view, settings.data.batch_size)
    rows = data.training_rows()
    loader = TrainingLoader(
        crops,
        rows if method.uses_unlabelled else rows.only_labelled(),
        settings.data,
        mean=facts.mean,
        std=facts.std,
        seed=settings.seed,
    )
    run = begun or Run(output, facts, settings)
    if begun is None:
        run.write()
    with deterministic():
        return _fit(run, method, loader, fabric, judge, on_progress or _look_away)


def _warm_start(
    split: Path,
    output: Path,
    settings: RunSettings,
    *,
    resume: bool,
    store: Path | None,
    on_progress: OnProgress | None,
) -> Path | None:
    """Train the run that the backbone is taken from, if one is asked for."""
    if not settings.warm_start.epochs:
        return None
    tell = on_progress or _look_away
    run = train(
        split,
        output / "warm_start",
        settings=settings.first_stage(),
        resume=resume,
        store=store,
        on_progress=lambda state: tell(state._replace(warm_start=True)),
    )
    return run.folder


def _fit(
    run: Run,
    method: Method,
    loader: TrainingLoader,
    fabric: Fabric,
    judge: Judge | None,
    on_progress: OnProgress,
) -> Run:
    """The training loop, whole."""
    settings, num_steps = run.settings, len(loader)
    fabric.to_device(method)
    optimizer = build_optimizer(method, settings.optimiser)
    first_epoch, best = _restore(run, method, optimizer)
    with Log(run.folder, first_epoch) as log:
        for epoch in range(first_epoch, settings.epochs):
            progress, meter = Progress(epoch, settings.epochs), Meter(epoch)
            set_learning_rate(optimizer, settings.optimiser, epoch)
            method.train()
            for step, batch in enumerate(loader.epoch(epoch), start=1):
                seed_step(settings.seed, epoch, step)
                batch = batch.to(fabric.device)
                with fabric.autocast():
                    losses = method.losses(batch, progress)
                optimizer.zero_grad(set_to_none=True)
                fabric.backward(losses.total)
                optimizer.step()
                meter.add(losses, batch)
                if step % settings.log_every == 0 or step == num_steps:
                    reading = meter.read()
                    log.write("step", {"epoch": epoch, "step": step, **reading.flat()})
                    on_progress(_state(progress, step, num_steps, reading, method))

            seed_step(settings.seed, epoch, num_steps + 1)
            end = method.end_epoch(progress)
            for move in end.moves:
                move_rows(optimizer, move)
            score = judge(method, fabric) if judge else None
            measured = {LOGGED_AS[settings.selection]: score} if judge else {}
            line = _epoch_line(meter, optimizer, method)
            log.write("epoch", {**end.log, **line, **measured})
            best = _save(run, method, optimizer, epochs=epoch + 1, score=score, best=best)
            run = _mark(run, epoch + 1)
    return _mark(run, settings.epochs)


def build_optimizer(method: Method, settings: OptimiserSettings) -> Optimizer:
    """The optimiser of all parameters that are trained."""
    parameters = [each for each in method.parameters() if each.requires_grad]
    lr, decay = settings.lr, settings.weight_decay
    if settings.name == "sgd":
        return SGD(parameters, lr, momentum=settings.momentum, weight_decay=decay)
    kind = AdamW if settings.name == "adamw" else Adam
    return kind(parameters, lr, weight_decay=decay)


def set_learning_rate(optimizer: Optimizer, settings: OptimiserSettings, epoch: int) -> None:
    """Set the rate of ``epoch``, counted from 0: it drops every ``lr_step`` epochs."""
    for group in optimizer.param_groups:
        group["lr"] = settings.lr * settings.lr_gamma ** (epoch // settings.lr_step)


def _begun(output: Path, split: Split, settings: RunSettings | None, *, resume: bool) -> Run | None:
    """The run in ``output`` that is to be gone on with; None when there is none."""
    if not Run.exists(output):
        return None
    run = Run.open(output)
    if not resume:
        raise UserError(
            f"{output}: holds a run already ({run.facts.trained_epochs} of {run.settings.epochs}"
            " epochs); add --resume, or choose another -o"
        )
    if run.facts.split_digest != split.digest():
        raise UserError(f"{output}: was trained on another split; give that one, or another -o")
    if settings is None:
        return run
    differences = [
        text for text in settings.differences(run.settings) if not text.startswith(_FREE)
    ]
    if differences:
        raise UserError(
            f"{output}: began with other settings ({'; '.join(differences)});"
            " resume with those, or choose another -o"
        )
    return replace(run, settings=settings)


def _restore(run: Run, method: Method, optimizer: Optimizer) -> tuple[int, float]:
    """Load the last checkpoint, if any; return the epochs that it saw and the best score so far."""
    last = run.last
    for folder in (last, run.checkpoint):
        checkpoint.settle(folder)
    if checkpoint.current(last) is None:
        return 0, -math.inf
    fit(method, checkpoint.read_weights(last), str(last))
    state = checkpoint.read_state(last)
    optimizer.load_state_dict(state["optimizer"])
    return checkpoint.read_note(last).epochs, state["best"]


def _save(
    run: Run,
    method: Method,
    optimizer: Optimizer,
    *,
    epochs: int,
    score: float | None,
    best: float,
) -> float:
    """Write the checkpoints of an epoch; return the best score so far.

    ``last`` comes after the selected one: killed between the two, the epoch is trained again, and
    selects again.
    """
    weights, num_live = method.state_dict(), method.num_live
    if score is not None and score > best:
        best = score
        note = checkpoint.Note(epochs, num_live, score)
        checkpoint.write(run.checkpoint, note, weights)
    state = {"optimizer": optimizer.state_dict(), "best": best}
    checkpoint.write(run.last, checkpoint.Note(epochs, num_live, score), weights, state)
    return best


def _mark(run: Run, epochs: int) -> Run:
    """Note in run.json that ``epochs`` are done, and which checkpoint predicts."""
    selected = checkpoint.read_note(run.checkpoint)
    return run.update(
        trained_epochs=epochs,
        selected_epochs=selected.epochs,
        num_live=selected.num_live,
        complete=epochs == run.settings.epochs,
    )


def _epoch_line(meter: Meter, optimizer: Optimizer, method: Method) -> dict[str, float | None]:
    return {
        "epoch": meter.epoch,
        **meter.total().flat(),
        "num_live": method.num_live,
        "images_per_second": round(meter.images_per_second(), 1),
        "lr": optimizer.param_groups[0]["lr"],
    }


def _state(
    progress: Progress, step: int, num_steps: int, reading: Reading, method: Method
) -> TrainingState:
    accuracy = math.nan if reading.labelled_accuracy is None else reading.labelled_accuracy
    loss = reading.terms["loss"]
    return TrainingState(*progress, step, num_steps, loss, accuracy, method.num_live)


def _look_away(state: TrainingState) -> None:
    """Show nobody the progress."""
