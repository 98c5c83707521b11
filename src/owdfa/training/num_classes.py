"""The number of classes of a training, where it is estimated: once, from a stated embedding."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from owdfa.backbones.base import Backbone
from owdfa.devices import autocast, find_device, seed_step
from owdfa.distributed import barrier, is_first_process
from owdfa.errors import UserError
from owdfa.estimators.base import FoundClasses, estimate, load_estimator
from owdfa.images.store import Store
from owdfa.inference.frozen_features import StoredImages, features_digest
from owdfa.loading.views import PlainView
from owdfa.methods.base import method_type
from owdfa.records.estimate import RunEstimate
from owdfa.records.split import Split
from owdfa.runs.run import Run, assemble
from owdfa.runs.settings import MethodSettings, RunSettings
from owdfa.training.evaluation import evaluate, fit_inputs
from owdfa.training.initial_weights import begins_random, initial_backbone


class _Embedded(NamedTuple):
    """Training images in an embedding."""

    rows: np.ndarray  # (N, D) float32
    found: FoundClasses | None = None


@dataclass
class ClassCount:
    """The number of classes of a run and of the trainings that come before it.

    Attributes:
        output: The run folder, where the estimate is kept.
        settings: Of the run.
        split: The images.
        store: Their crops.
        number: The number of classes, once it is estimated, or of the run that is resumed.
    """

    output: Path
    settings: RunSettings
    split: Split
    store: Store
    number: int | None = None
    _due: bool = False  # whether a training was given it

    def resolve(self, settings: RunSettings, earlier: Path | None, *, last: bool) -> RunSettings:
        """Settings of a training with the number of classes in place of its estimator.

        It is estimated before the first training whose method needs it, and before the run in any
        case; at once where ``classes_from`` names a run. Trainings before that are not given it.

        Args:
            settings: Of the run, or of a training that comes before.
            earlier: The run that was trained before it.
            last: Whether it is the run itself.
        """
        if settings.estimator is None or settings.classes != self.settings.classes:
            return settings
        self._due |= last or _is_needed(settings) or self.settings.classes_from is not None
        if not self._due:
            return settings.with_classes("auto")
        if self.number is None:
            self.number = self._estimate(earlier)
        return settings.with_classes(self.number)

    def _estimate(self, earlier: Path | None) -> int:
        """Estimate in the first process, and read what that wrote in all of them."""
        if is_first_process():
            made = self._keep(_source(self.settings, earlier))
            made.write(self.output)
        barrier()
        kept = RunEstimate.find(self.output)
        assert kept is not None
        return kept.estimate.num_classes

    def _keep(self, source: Run | None) -> RunEstimate:
        """What a stopped run estimated, where stages were trained with it, or a new estimate."""
        settings = self.settings
        assert settings.estimator is not None
        name = f"{settings.backbone.name} with weights {settings.backbone.weights}"
        digest = None
        if source is not None:
            inside = source.folder.is_relative_to(self.output)
            name = str(source.folder.relative_to(self.output) if inside else source.folder)
            digest = source.metadata.provenance.weights_digest
        basis = (settings.estimator, name, digest, self.split.digest())
        if settings.stages:
            kept = RunEstimate.find(self.output)
            if kept is not None and kept.basis == basis:
                return kept
        rows = self.split.training_rows()
        embedded = self._embed(source)
        found = estimate(
            settings.estimator, embedded.rows, rows.labels, settings.estimate, embedded.found
        )
        least = len(self.split.label_names(all_labels=settings.labels == "all"))
        found = replace(found, num_classes=max(found.num_classes, least))
        return RunEstimate(
            embedding=name, weights_digest=digest, split_digest=basis[-1], estimate=found
        )

    def _embed(self, source: Run | None) -> _Embedded:
        """Embed the training images."""
        ids, settings = self.split.training_rows().ids, self.settings
        device = find_device(settings.device)
        if source is None:
            return _Embedded(_first_embedding(self.store, self.split, settings, device))
        metadata = source.metadata
        made = self.store.basis
        taken = metadata.store_size, metadata.faces, metadata.fit
        if settings.classes_from is not None and (made.size, made.faces, made.fit) != taken:
            raise UserError(
                f"{source.folder}: was trained on crops of {taken[0]} px, faces {taken[1]} and fit"
                f" {taken[2]}, and {self.store.folder} has {made.size} px, {made.faces} and"
                f" {made.fit}; name another run with --classes-from"
            )
        view = PlainView(metadata.image_size, metadata.mean, metadata.std)
        method = source.method().to(device)
        output = evaluate(method, self.store, ids, view, settings)
        if metadata.classes != "auto" or metadata.known != self.split.known:
            return _Embedded(output.embedding)
        predicted = output.probabilities.argmax(axis=1)
        own = source.settings.method
        found = FoundClasses(predicted, len(metadata.known), method.num_active, own)
        return _Embedded(output.embedding, found)


def check_num_classes(settings: RunSettings, split: Split) -> None:
    """Check that the number of classes can be estimated as the settings say.

    Raises:
        UserError: There is no embedding to estimate it from, or none that serves; found now, and
            not after the trainings that come before.
    """
    if settings.estimator is None:
        if settings.classes_from is not None:
            raise UserError(
                "classes_from: it is what auto:<estimator> estimates from; give --classes auto:gcd"
                " too, or leave it out"
            )
        return
    method: MethodSettings | None = None
    if settings.classes_from is not None:
        method = _method_that_finds(_checked_run(Path(settings.classes_from), split).settings)
    elif (stage := _stage_before(settings)) is not None:
        method = _method_that_finds(stage)
    elif Run.exists(Path(settings.backbone.weights)):
        method = _method_that_finds(Run.open(settings.backbone.weights).settings)
    elif begins_random(settings):
        raise UserError(
            f"classes {settings.classes}: the network begins with random weights, whose embedding"
            " says nothing; name a run with --classes-from, or weights with --weights"
        )
    check = getattr(load_estimator(settings.estimator), "check_method", None)
    if check is not None:
        check(method)


def _checked_run(folder: Path, split: Split) -> Run:
    """Open the run that the user names for its embedding."""
    run = Run.open(folder)
    made = run.metadata.provenance
    if made.split_digest != split.digest():
        raise UserError(
            f"{folder}: was trained on another split, so that its embedding may know labels that"
            " are hidden here; name a run on this split with --classes-from"
        )
    if made.is_oracle:
        raise UserError(
            f"{folder}: is an oracle ({made.oracle}), which must not give the number of classes;"
            " name another run with --classes-from"
        )
    if not run.metadata.complete:
        raise UserError(f"{folder}: is not trained to its end; run its command with --resume first")
    return run


def _stage_before(settings: RunSettings) -> RunSettings | None:
    """The training whose embedding is used: that before the first which needs the number."""
    before = None
    for stage in map(settings.stage, settings.stages):
        if stage.classes == settings.classes:
            if _is_needed(stage):
                break
            stage = stage.with_classes("auto")
        before = stage
    return before


def _is_needed(settings: RunSettings) -> bool:
    return method_type(settings.method.name).needs_num_classes


def _method_that_finds(settings: RunSettings) -> MethodSettings | None:
    """The method of a training that finds the number of classes; None where it is given that."""
    return settings.method if settings.classes == "auto" else None


def _source(settings: RunSettings, earlier: Path | None) -> Run | None:
    """The run whose embedding is used; None for a backbone with its first weights."""
    weights = Path(settings.backbone.weights)
    folder = settings.classes_from or earlier or (weights if Run.exists(weights) else None)
    return None if folder is None else Run.open(folder)


def _first_embedding(
    store: Store, split: Split, settings: RunSettings, device: torch.device
) -> np.ndarray:
    """Embed the training images without a run: (N, D) float32.

    By a method that is only fitted, as it is when fitted with the known classes alone; otherwise by
    the mean of the backbone's last feature map over its places.
    """
    rows, known = split.training_rows(), len(split.known)
    backbone = initial_backbone(settings).to(device).eval()
    view = PlainView(settings.data.views.size, backbone.mean, backbone.std)
    if method_type(settings.method.name).is_trained():
        digest = features_digest(backbone, view.size)
        return _pooled(backbone, StoredImages.of(store, rows.ids, view, digest), settings)
    method = assemble(settings.with_classes(known), known, backbone).to(device)
    inputs = fit_inputs(method, store, rows.ids, view, settings)
    seed_step(settings.seed, 0, 0)
    with torch.no_grad():
        method.finish(torch.from_numpy(inputs), torch.from_numpy(rows.labels))
    return evaluate(method, store, rows.ids, view, settings).embedding


@torch.inference_mode()
def _pooled(backbone: Backbone, images: StoredImages, settings: RunSettings) -> np.ndarray:
    """The mean of the last feature map over its places: (N, D) float32."""
    device, size = backbone.scale.device, settings.data.batch_size
    found = []
    for first in range(0, len(images), size):
        with autocast(device, settings.precision):
            (maps,) = backbone(images[first : first + size].to(device))
        found.append(maps.mean(dim=(2, 3)).float().cpu().numpy())
    return np.concatenate(found)
