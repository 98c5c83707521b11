"""Verdicts of image files: what is said, when nothing is, and what stands in the case."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from benchmarks import verdicts as verdicts_benchmark
from benchmarks.harness import Report
from command_line import done, refused
from owdfa.attribution import subjects
from owdfa.attribution.attributor import AttributeOptions, Attributor, _main_embeddings
from owdfa.attribution.subjects import blur_of, inspect, variants
from owdfa.calibration.statements import Decision
from owdfa.errors import UserError
from owdfa.images import faces
from owdfa.images.boxes import Box
from owdfa.images.faces import crop_to_size
from owdfa.inference.lists import ImageFile
from owdfa.inference.predictor import Predictor
from owdfa.inference.session import BatchOutput
from owdfa.records.calibration import Calibration, Threshold
from owdfa.records.provenance import Provenance
from owdfa.records.verdict import Box as FoundBox
from owdfa.records.verdict import FileVerdict, Outcome
from owdfa.runs.settings import load_settings
from owdfa.stages.attribute import attribute
from owdfa.stages.calibrate import calibrate
from owdfa.stages.train import train
from tiny_data import DRIFT, SIDE, make_data

CLASSES = ("real", "swap-a", "swap-b", "novel-01")
LIMITS = {"class": 0.8, "family": 0.7, "novel": 0.75, "forged": 0.6, "real": 0.9}
PROVENANCE = Provenance(
    method="cal", backbone="tiny/x", seed=0, selection="last", split_digest="s",
    weights_digest="w", precision="32-true", commit="c", environment={},
)  # fmt: skip


def calibration(**changes):
    limits = tuple(
        Threshold(
            statement=name, threshold=limit, budget=0.01, bound=0.01, confidence=0.95,
            num_groups=300, num_wronged=0, recall=0.5,
        )
        for name, limit in LIMITS.items()
    )  # fmt: skip
    values = {
        "known": CLASSES[:3], "real": ("real",), "families": {"swap-a": "swap", "swap-b": "swap"},
        "temperature": 1.0, "thresholds": limits, "coverage": 0.9, "set_threshold": 0.7,
        "num_images": 300, "num_groups": 300, "ece_before": 0.1, "ece": 0.02, "reliability": (),
        "provenance": PROVENANCE,
    }  # fmt: skip
    return Calibration(**{**values, **changes})


class ByColour:
    """Says what the pixel in the middle says: row of ``SAYS`` by its red level."""

    engine, batch_size, ratios = "test 1", 4, False

    SAYS = np.array(
        [
            [0.95, 0.03, 0.01, 0.01],  # real
            [0.02, 0.95, 0.02, 0.01],  # swap-a
            [0.02, 0.48, 0.48, 0.02],  # one of the swaps
            [0.05, 0.03, 0.02, 0.90],  # novel-01
            [0.30, 0.23, 0.23, 0.24],  # forged, of no family
            [0.50, 0.40, 0.05, 0.05],  # nothing sure
        ],
        np.float32,
    )

    def predict_batch(self, crops):
        middle = crops.shape[1] // 2
        rows = (crops[:, middle, middle, 0].astype(int) + 20) // 40
        says = self.SAYS[rows.clip(0, 5)]
        return BatchOutput(says, says, np.log10(says / 0.01) if self.ratios else says[:, :0])


@pytest.fixture
def attributor(tmp_path, monkeypatch):
    """One that needs no training."""
    predictor = Predictor(
        tmp_path / "model.onnx", CLASSES, 3, "none", 32, PROVENANCE, ByColour(),
        calibration=calibration(),
    )  # fmt: skip
    monkeypatch.setattr(Predictor, "open", lambda *args, **options: predictor)
    monkeypatch.setattr(subjects, "_FLAT", 0.0)  # it looks at one pixel
    return Attributor.open("model.onnx")


def plain(path, level, side=64, **options):
    """An image of one colour, which no re-encoding changes."""
    Image.new("RGB", (side, side), (level, 90, 90)).save(path, **options)
    return path


def verdicts(attributor, *paths):
    files = [ImageFile(path.name, str(path)) for path in paths]
    return [verdict for _, verdict in attributor.attribute(files)]


@pytest.mark.parametrize(
    ("row", "label", "probability"),
    [
        (0, "real-consistent", 0.95),
        (1, "known:swap-a", 0.95),
        (2, "family:swap", 0.96),
        (3, "novel:novel-01", 0.90),
        (4, "family:forged", 0.70),
        (5, "inconclusive", None),
    ],
)
def test_each_outcome(attributor, tmp_path, row, label, probability):
    (found,) = verdicts(attributor, plain(tmp_path / "a.png", 40 * row))
    (verdict,) = found.verdicts
    assert verdict.outcome.label == label
    assert verdict.probability == (probability and pytest.approx(probability))
    assert [each.outcome.label for each in verdict.stability] == [label] * 2 * (row < 5)
    assert (verdict.operating_point is not None) == (row < 5)
    assert (verdict.accusation_point is not None) == (0 < row < 5)
    assert verdict.alternatives[0].probability == max(a.probability for a in verdict.alternatives)
    assert "authentic" not in verdict.sentence or "not show" in verdict.sentence
    assert found.outcome == verdict.outcome


def test_a_statement_names_the_operating_point_that_it_passed(attributor, tmp_path):
    (found,) = verdicts(attributor, plain(tmp_path / "a.png", 40))
    (verdict,) = found.verdicts
    assert (verdict.operating_point.statement, verdict.operating_point.threshold) == ("class", 0.8)
    assert verdict.accusation_point.statement == "forged"
    assert "1.0% of real sources" in verdict.sentence
    assert verdict.prediction_set.classes == ("swap-a",)


def test_a_likelihood_ratio_is_of_the_best_known_class_against_the_best_other(
    attributor, tmp_path, monkeypatch
):
    path = plain(tmp_path / "a.png", 40)
    assert verdicts(attributor, path)[0].verdicts[0].log10_ratio is None
    monkeypatch.setattr(ByColour, "ratios", True)
    (verdict,) = verdicts(attributor, path)[0].verdicts
    assert verdict.ratio_class == "swap-a"
    assert verdict.log10_ratio == pytest.approx(np.log10(0.95 / 0.02))


def test_what_re_encoding_changes_is_inconclusive_and_says_what_it_becomes(attributor, tmp_path):
    pixels = np.full((32, 32, 3), 0, np.uint8)
    pixels[16, 16] = 40  # a single pixel, which scaling down wipes out
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (found,) = verdicts(attributor, tmp_path / "a.png")
    outcome = found.verdicts[0].outcome
    assert (outcome.kind, outcome.reason) == ("inconclusive", "unstable")
    assert outcome.detail.startswith("known:swap-a, but ")
    assert "real-consistent after half-size" in outcome.detail
    assert "Inconclusive: re-encoding changes" in found.verdicts[0].sentence


def test_a_class_that_is_not_stable_backs_off_to_its_family(attributor, tmp_path, monkeypatch):
    pixels = np.full((32, 32, 3), 80, np.uint8)
    pixels[16, 16] = 40
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (found,) = verdicts(attributor, tmp_path / "a.png")
    assert found.outcome.label == "family:swap"
    assert found.verdicts[0].operating_point.statement == "family"


def test_what_has_one_colour_is_no_picture(attributor, tmp_path, monkeypatch):
    monkeypatch.undo()
    noise = np.random.default_rng(0).integers(-20, 21, (64, 64, 3))
    Image.fromarray((40 + noise).astype(np.uint8)).save(tmp_path / "b.png")
    found = verdicts(attributor, plain(tmp_path / "a.png", 40), tmp_path / "b.png")
    reasons = [each.verdicts[0].outcome.reason for each in found]
    assert reasons[0] == "not-of-domain" != reasons[1]


def test_what_cannot_be_looked_at_has_a_reason(attributor, tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "secret.jpg").write_bytes(b"\x85\x01\x0c\x03" + bytes(200))
    small = plain(tmp_path / "small.png", 0, side=15)
    poor = plain(tmp_path / "poor.jpg", 0, quality=12)
    paths = [tmp_path / "empty.jpg", tmp_path / "secret.jpg", tmp_path / "none.jpg", small, poor]
    found = verdicts(attributor, *paths)
    reasons = [each.verdicts[0].outcome.reason for each in found]
    assert reasons == ["undecodable"] * 3 + ["too-small", "too-compressed"]
    assert found[0].sha256 is None
    assert found[1].sha256 == hashlib.sha256(paths[1].read_bytes()).hexdigest()
    assert found[4].jpeg_quality == 12
    assert found[4].verdicts[0].outcome.detail == "JPEG quality 12, less than 30"
    assert all(each.verdicts[0].probability is None for each in found)


def test_every_face_has_a_verdict_from_left_to_right(attributor, tmp_path, monkeypatch):
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[:, :100] = 40
    Image.fromarray(pixels).save(tmp_path / "two.png")
    boxes = [Box(110, 10, 190, 90, 2.0), Box(10, 10, 90, 90, 1.0), Box(0, 0, 9, 9, 0.5)]

    class Detector:
        def detect(self, rgb):
            return boxes if rgb.shape[1] == 200 else []

    monkeypatch.setitem(faces._DETECTORS, "test", Detector)
    with_faces = replace(attributor, rule=attributor.rule._replace(faces="test", needs_face=True))
    two, none = verdicts(with_faces, tmp_path / "two.png", plain(tmp_path / "none.png", 0))
    assert [each.box and each.box.left for each in two.verdicts] == [0, 10, 110]
    assert [each.outcome.label for each in two.verdicts] == [
        "not-applicable", "known:swap-a", "real-consistent",
    ]  # fmt: skip
    assert [each.size for each in two.verdicts] == [9, 80, 80]
    assert two.outcome.label == "known:swap-a"
    assert none.outcome.reason == "no-face"
    whole = replace(attributor, rule=attributor.rule._replace(faces="test", needs_face=False))
    (found,) = verdicts(whole, tmp_path / "none.png")
    assert found.outcome.label == "real-consistent"
    assert found.verdicts[0].box is None


def test_a_crop_is_that_of_prediction(attributor, tmp_path):
    from owdfa.inference.inputs import read_crop

    pixels = np.random.default_rng(0).integers(0, 256, (80, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (subject,) = inspect(tmp_path / "a.png", attributor.rule).subjects
    assert (subject.crop == read_crop(tmp_path / "a.png", "none", 32)).all()


@pytest.mark.parametrize("fit", ["resize", "native"])
def test_variants_are_crops_of_the_changed_file(attributor, tmp_path, fit):
    """Half the file by hand, and a crop of that, is the half-size variant."""
    coarse = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((120, 100), Image.Resampling.BICUBIC)
    image.save(tmp_path / "a.png")
    rule = attributor.rule._replace(fit=fit)
    (subject,) = inspect(tmp_path / "a.png", rule).subjects
    made = variants(subject, rule)
    half = image.resize((60, 50), Image.Resampling.BILINEAR)
    image.save(tmp_path / "a.jpg", quality=75)
    with Image.open(tmp_path / "a.jpg") as saved:
        again = saved.convert("RGB")
    other_blocks = 8 if fit == "native" else 0.01  # JPEG's begin elsewhere
    for name, changed, limit in (("half-size", half, 1), ("jpeg-75", again, other_blocks)):
        expected = crop_to_size(changed, None, 32, fit).astype(int)
        assert np.abs(made[name].astype(int) - expected).mean() < limit


def test_what_variants_are_made_of_is_bounded(attributor, tmp_path):
    Image.new("RGB", (3000, 40)).save(tmp_path / "a.png")
    (subject,) = inspect(tmp_path / "a.png", attributor.rule).subjects
    assert max(subject.region.size) == 4 * 32
    assert [each.shape for each in variants(subject, attributor.rule).values()] == [(32, 32, 3)] * 2


def test_a_blurred_crop_has_less_of_a_laplacian():
    image = Image.effect_noise((64, 64), 60).convert("RGB")
    sharp = np.asarray(image)
    soft = np.asarray(image.resize((16, 16)).resize((64, 64)))
    assert blur_of(soft) < blur_of(sharp) / 10
    assert blur_of(np.full((8, 8, 3), 9, np.uint8)) == 0


def test_a_calibration_of_other_weights_gives_no_verdict(attributor, monkeypatch):
    other = PROVENANCE.model_copy(update={"weights_digest": "x"})
    stale = replace(attributor.predictor, calibration=calibration(provenance=other))
    monkeypatch.setattr(Predictor, "open", lambda *args, **options: stale)
    with pytest.raises(UserError, match="calibrated with other weights; run owdfa calibrate"):
        Attributor.open("model.onnx")


def test_a_whole_image_is_looked_at_where_most_held_out_images_had_no_face(attributor, monkeypatch):
    for share, needed in ((None, True), (0.2, True), (0.7, False)):
        other = replace(attributor.predictor, faces="dlib", calibration=calibration(no_face=share))
        monkeypatch.setattr(Predictor, "open", lambda *args, found=other, **options: found)
        assert Attributor.open("model.onnx").rule.needs_face is needed


def test_the_digest_of_what_verdicts_rest_on_does_not_depend_on_its_place(attributor):
    made = attributor.attribution
    assert made.model_copy(update={"run": "elsewhere"}).digest == made.digest
    assert made.model_copy(update={"min_size": 9}).digest != made.digest


def test_novel_is_never_said_by_a_run_without_novel_types():
    decision = Decision(calibration(), CLASSES[:3])
    assert {each.kind for each in decision.statements} == {"class", "family", "forged", "real"}


# A run that is trained, calibrated, exported and used, all by the command line.


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("many"), per_class=60)


@pytest.fixture(scope="module")
def run(many, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "run"
    overrides = [*DRIFT, "epochs=2", "classes=4"]
    return train(many.split, output, settings=load_settings(None, None, overrides)).folder


@pytest.fixture
def photos(many, tmp_path):
    """A folder of crops as files, with one that is no image, and one that is damaged."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        plain(folder / f"{i}.png", 40 * i, side=SIDE)
    (folder / "notes.txt").write_text("no image")
    (folder / "bad.png").write_bytes((folder / "0.png").read_bytes()[:60])
    return folder


def test_training_calibrates_where_the_split_holds_images_back(run):
    made = Calibration.read(run)
    assert made.known == ("real", "swap")
    assert made.real == ("real",)
    assert made.num_images == made.num_groups == 12
    assert made.provenance.weights_digest is not None
    assert any("takes 299 held-out groups" in note for note in made.notes)


def test_verdicts_lie_in_a_case(run, photos, tmp_path):
    case = tmp_path / "case"
    printed = done("attribute", run, photos, "-o", case)
    lines = [FileVerdict.model_validate_json(x) for x in _lines_of(case)]
    assert [each.path for each in lines] == [f"{photos}/{n}.png" for n in ("0", "1", "2", "bad")]
    assert lines[3].outcome.reason == "undecodable"
    assert (case / "verdicts.csv").is_file()
    assert "4 files" in printed
    assert "1 other files passed over" in printed
    done("attribute", run, photos / "1.png", "-o", case, "--quiet")
    assert len(_lines_of(case)) == 5


def _lines_of(case):
    return (case / "verdicts.jsonl").read_text().splitlines()


def test_an_exported_model_carries_the_calibration_of_its_run(run, photos, tmp_path):
    done("export", run, "-o", tmp_path / "model.onnx")
    by_file = Attributor.open(tmp_path / "model.onnx")
    by_run = Attributor.open(run)
    assert by_file.attribution.calibration == by_run.attribution.calibration
    paths = [photos / "0.png", photos / "2.png"]
    found = [verdicts(each, *paths) for each in (by_file, by_run)]
    for one, other in zip(*found, strict=True):
        pairs = zip(one.verdicts[0].alternatives, other.verdicts[0].alternatives, strict=True)
        assert all(abs(a.probability - b.probability) < 1e-4 for a, b in pairs)


def test_verdicts_without_a_real_class_say_so(run, photos, tmp_path):
    known = Calibration.read(run)
    known.model_copy(update={"real": (), "thresholds": known.thresholds[:1]}).write(run)
    printed = done("attribute", run, photos, "-o", tmp_path / "case")
    known.write(run)
    assert f"nothing is called real; owdfa calibrate {run} --real CLASS names one" in printed
    assert "of sources given a wrong type" in printed


def test_a_budget_of_ones_own_and_a_real_class_of_ones_own(run, many):
    before = Calibration.read(run)
    made = calibrate(run, budget=0.4, real=["swap"])
    assert made.real == ("swap",)
    assert {each.budget for each in made.thresholds} == {0.4}
    assert calibrate(run).model_dump() == before.model_dump()
    with pytest.raises(UserError, match="--real paint: is none of the known classes"):
        calibrate(run, real=["paint"])


def test_what_is_not_calibrated_is_refused_with_the_remedy(whole_run, tmp_path):
    image = plain(tmp_path / "a.png", 0)
    line = refused("attribute", whole_run, image, "-o", tmp_path / "case")
    assert f"is not calibrated, so it gives no verdicts; run owdfa calibrate {whole_run}" in line
    line = refused("calibrate", whole_run)
    assert "holds no validation images" in line
    assert "--validation 0.2, and train on it" in line
    assert not (tmp_path / "case").exists()
    done("export", whole_run, "-o", tmp_path / "model.onnx")
    line = refused("attribute", tmp_path / "model.onnx", image, "-o", tmp_path / "case")
    assert "holds no calibration" in line


def test_nothing_is_written_where_nothing_can_be_said(run, photos, tmp_path):
    case = tmp_path / "case"
    assert "no such file or folder" in refused("attribute", run, tmp_path / "x.png", "-o", case)
    (tmp_path / "none").mkdir()
    assert "no images there" in refused("attribute", run, tmp_path / "none", "-o", case)
    line = refused("attribute", run, photos / "bad.png", "-o", case)
    assert "none of the 1 files named is an image" in line
    assert not case.exists()
    line = refused("attribute", run, photos / "0.png", "-o", photos)
    assert "holds files and is no case" in line
    line = refused("attribute", run, photos / "0.png", "-o", photos / "1.png")
    assert "is a file, and a case is a folder" in line
    line = refused("attribute", run, photos / "0.png", "-o", case, "--min-quality", "200")
    assert "min_quality" in line


def test_a_damaged_calibration_is_made_again(run, many, tmp_path):
    before = (run / "calibration.json").read_text()
    (run / "calibration.json").write_text(json.dumps({"schema": "owdfa/calibration/9"}))
    with pytest.raises(UserError, match="no calibration that this version reads"):
        Attributor.open(run)
    train(many.split, run, resume=True)
    assert (run / "calibration.json").read_text() == before
    Attributor.open(run, AttributeOptions(min_size=1))


def test_attribute_returns_what_it_found(run, photos, tmp_path):
    found = attribute(run, [photos], tmp_path / "case")
    assert found.num_files == 4
    assert sum(found.outcomes.values()) == 4
    assert len(found.shown) == 4


def test_the_benchmark_of_verdicts_runs_at_toy_size(run, tmp_path):
    verdicts_benchmark.main([str(run), "--splits", "2"], Report("verdicts", tmp_path))
    (written,) = tmp_path.glob("*.json")
    assert len(json.loads(written.read_text())["rows"]) == 9


def test_the_embedding_that_is_kept_is_of_the_most_confident_face_that_has_a_verdict():
    def image(name, *faces):
        made = [
            subjects.Subject(
                FoundBox(left=0, top=0, right=9, bottom=9, score=score), 9, None, None, problem
            )
            for score, problem in faces
        ]
        return subjects.Inspected(subjects.FileFacts(sha256=name), tuple(made))

    small = Outcome(kind="not-applicable", reason="too-small")
    images = [
        image("a", (0.2, None), (0.9, None), (0.5, None)),
        image("b", (0.9, small), (0.5, None)),  # its verdict is that nothing can be said
        image("c", (0.1, None), (0.05, small)),
    ]
    rows = np.arange(5)[:, None]
    assert list(_main_embeddings(images, rows)) == [("a", rows[1]), ("c", rows[4])]
