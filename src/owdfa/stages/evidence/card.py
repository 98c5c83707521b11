"""What a reader must know of the model that verdicts rest on."""

from pathlib import Path

from owdfa.config import Settings
from owdfa.errors import UserError
from owdfa.inference.predictor import Predictor
from owdfa.records.scores import Scores
from owdfa.records.stress import FILE, Stress, StressLevel
from owdfa.records.verdict import Attribution
from owdfa.stages.evidence.nearest import TrainingImages

NOT_AT_HAND = "not at hand when this was written"


class ClassLine(Settings):
    """How well a known class is recognised on the test images of the run."""

    name: str
    family: str | None
    num_images: int | None
    """Test images; None where the run was not scored."""
    accuracy: float | None
    robustness: float | None
    """Accuracy at the level of the stress test that is nearest to the inputs' quality."""


class ModelCard(Settings):
    """What a network was trained on, and how well it does."""

    run: str
    """The run folder, or the exported file, as it was named."""
    trained_on: tuple[tuple[str, str], ...]
    """Name and value of what it was trained on and how."""
    classes: tuple[ClassLine, ...]
    """The known classes: all that it can name."""
    num_novel: int
    """Groups of its own making, which have no name."""
    scored: str
    """On what the accuracies were measured, or why there are none."""
    stressed: str
    """The same of the robustness."""


def make_card(
    predictor: Predictor,
    attribution: Attribution,
    images: TrainingImages | None,
    quality: int | None,
) -> ModelCard:
    """Describe a network.

    Args:
        predictor: The network.
        attribution: What verdicts say that they rest on.
        images: Its training images; None where they are not at hand.
        quality: JPEG quality of the inputs, the middle one; None where none is a JPEG.
    """
    families = attribution.calibration.families
    accuracy, scored = _accuracy(predictor)
    robustness, stressed = _robustness(predictor, quality)
    known = predictor.classes[: predictor.num_known]
    return ModelCard(
        run=attribution.run,
        trained_on=tuple(_trained_on(predictor, images)),
        classes=tuple(
            ClassLine(
                name=name,
                family=families.get(name),
                num_images=accuracy.get(name, (None, None))[0],
                accuracy=accuracy.get(name, (None, None))[1],
                robustness=robustness.get(name),
            )
            for name in known
        ),
        num_novel=len(predictor.classes) - len(known),
        scored=scored,
        stressed=stressed,
    )


def _trained_on(predictor: Predictor, images: TrainingImages | None) -> list[tuple[str, str]]:
    made = predictor.provenance
    found = [
        ("Method", made.label),
        ("Backbone", made.backbone),
        ("Seed", str(made.seed)),
        ("Checkpoint chosen by", made.selection),
        ("Labels trained on", made.labels),
        ("Split, SHA-256", made.split_digest or "none: it was trained elsewhere"),
        ("Weights, SHA-256", made.weights_digest or "unknown"),
        ("Commit", made.commit),
        ("Trained with", ", ".join(f"{k} {v}" for k, v in sorted(made.environment.items()))),
    ]
    if images is None:
        return [*found, ("Training images", NOT_AT_HAND)]
    split = images.split
    roles = ", ".join(
        f"{num:,} {role}" for role, num in split.num_images().items() if num and role != "unused"
    )
    return [
        *found,
        ("Training images", roles),
        ("Split rule", f"{split.basis.rule}, seed {split.basis.seed}"),
        ("Protocol", split.basis.protocol or "none: the known classes were chosen by hand"),
    ]


def _accuracy(predictor: Predictor) -> tuple[dict[str, tuple[int, float]], str]:
    """Images and accuracy by class, and on what they were measured."""
    path = _beside(predictor) / "scores.json"
    if not path.exists():
        return {}, "not measured (owdfa report RUN measures it)"
    try:
        scores = Scores.read(path)
    except UserError:
        return {}, f"not known ({path.name} cannot be read: delete it, score again)"
    if scores.provenance.weights_digest != predictor.provenance.weights_digest:
        return {}, f"not known ({path.name} is of other weights: delete it, score again)"
    oracle = f"; an oracle: {scores.provenance.oracle}" if scores.provenance.is_oracle else ""
    counts, ece = scores.num_images["all"], scores.calibration["ece"]
    # The paper convention: a known class is right as itself, while gcd-v2 may match it to another.
    return (
        {each["class"]: (each["num_images"], each["acc_paper"]) for each in scores.per_class},
        f"named as itself, the likeliest class, of {counts:,} images of {scores.images}{oracle};"
        f" expected calibration error without temperature {ece:.3f}",
    )


def _robustness(predictor: Predictor, quality: int | None) -> tuple[dict[str, float], str]:
    """Accuracy by class at the level nearest to ``quality``, and which that is."""
    path = _beside(predictor) / "stress" / FILE
    if not path.exists():
        return {}, "not measured (owdfa stress RUN -o RUN/stress measures it)"
    try:
        stress = Stress.read(path)
    except UserError:
        return {}, f"not known ({path.name} cannot be read: run owdfa stress again)"
    if stress.provenance.weights_digest != predictor.provenance.weights_digest:
        return {}, f"not known ({path.name} is of other weights: run owdfa stress again)"
    level = _nearest_level(stress, quality)
    described = f"{level.title} {level.label}" if level.label else "the unchanged images"
    shares = {name: share.value for name, share in level.per_class.items()}
    return shares, f"{described}, the level nearest to the inputs, of {stress.images}"


def _nearest_level(stress: Stress, quality: int | None) -> StressLevel:
    """The level of JPEG nearest to a quality; the unchanged images where none is nearer."""
    unchanged, *others = stress.levels
    jpeg = [each for each in others if each.corruption == "jpeg"]
    if quality is None or not jpeg:
        return unchanged
    best = min(jpeg, key=lambda each: abs(each.parameters["quality"] - quality))
    return best if abs(best.parameters["quality"] - quality) <= 100 - quality else unchanged


def _beside(predictor: Predictor) -> Path:
    """The run folder, or the folder that an exported file lies in."""
    return predictor.source if predictor.run is not None else predictor.source.parent
