"""The method: types are fitted to embeddings, and logits are their log-probabilities."""

import numpy as np
import pytest
import torch

from command_line import done, make_noise, refused
from owdfa.inference.predictor import Predictor
from owdfa.methods.plda import PLDA, PLDASettings
from owdfa.metrics.likelihood_ratios import evidence
from owdfa.plda.fit import fit
from owdfa.plda.ratios import log_ratios
from owdfa.records.training import Features
from owdfa.runs import checkpoint
from owdfa.runs.run import Run
from owdfa.runs.settings import load_settings
from owdfa.stages.export import export
from owdfa.stages.predict import predict
from owdfa.stages.score import score
from owdfa.stages.train import train
from small_networks import backbone
from tiny_data import SIDE, TINY, make_data
from type_samples import sample


def method(num_classes=None, channels=12, **settings):
    torch.manual_seed(0)
    small = {"num_parts": 0, **settings}
    return PLDA(backbone(channels), 3, num_classes, PLDASettings(**small)).eval()


def fitted(num_classes=None, *, learnt=False, **settings):
    data = sample(num_known=3, num_novel=2, dim=12, distance=9)
    plda = method(num_classes, **settings)
    plda.backbone.is_frozen = not learnt
    embeddings = torch.from_numpy(data.features).float()
    torch.manual_seed(1)
    plda.finish(embeddings, torch.from_numpy(data.labels))
    return plda, embeddings, data


@pytest.mark.parametrize("unit_length", [True, False])
def test_probabilities_are_those_of_the_model(unit_length):
    plda, embeddings, data = fitted(unit_length=unit_length)
    torch.manual_seed(1)
    seed = int(torch.randint(2**31, ()))
    model = fit(embeddings.numpy(), data.labels, 3, plda.settings, seed=seed)
    expected = np.exp(model.log_posterior(embeddings.numpy()))
    found = plda.classify(Features(embeddings)).softmax(dim=1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_ratios_are_those_of_the_model_scaled_by_its_calibration():
    plda, embeddings, data = fitted()
    torch.manual_seed(1)
    seed = int(torch.randint(2**31, ()))
    model = fit(embeddings.numpy(), data.labels, 3, plda.settings, seed=seed)
    rows, mixture = model.space(embeddings.numpy()), model.mixture
    expected = log_ratios(rows, mixture.types, mixture.prior)
    expected *= model.calibration.factor / np.log(10)
    ratios = plda.log_ratios(Features(embeddings)).numpy()
    guess = plda.classify(Features(embeddings)).argmax(dim=1).numpy()
    found = evidence(ratios, guess, 3)
    every = np.arange(len(guess))
    np.testing.assert_allclose(found.own, expected[every, guess], atol=1e-3)
    np.testing.assert_allclose(found.known, expected[:, :3].max(axis=1), atol=1e-3)
    np.testing.assert_allclose(found.unseen, expected[:, -1], atol=1e-3)
    assert (found.known[data.truth < 3] > 0).mean() > 0.95
    assert (found.known[data.truth >= 3] < 1).mean() > 0.95  # of novel ones 5 % at most are misled


def test_what_was_found_of_all_images_is_told():
    plda, embeddings, data = fitted(num_parts=2)
    torch.manual_seed(1)
    seed = int(torch.randint(2**31, ()))
    measured = fit(embeddings.numpy(), data.labels, 3, plda.settings, seed=seed).calibration
    told = plda.types_found()
    assert told.num_types == plda.num_active
    assert told.interval[0] <= told.num_types <= told.interval[1]
    assert told.novel_share == pytest.approx(float(plda.novel_share))
    assert told.known_out.cllr == pytest.approx(measured.cllr)
    assert told.known_out.misled == pytest.approx(measured.misled)
    assert told.known_out.hidden == pytest.approx(measured.found.hidden)
    assert fitted(num_classes=6)[0].types_found().interval is None


def test_where_the_network_learnt_the_labels_there_is_no_bound_on_novel_images():
    found = fitted(learnt=True)[0].types_found()
    assert found.novel_share is None
    first, second = found.lines
    assert "no bound on the share of novel images" in first
    assert "which the network had learnt (too good)" in second


def test_before_the_fit_and_without_a_calibration_there_is_no_ratio():
    new = method()
    assert new(torch.zeros(2, 3, 16, 16)).log_ratios is None
    assert new.types_found() is None
    data = sample(num_known=1, num_novel=1, dim=12, distance=9)
    torch.manual_seed(0)
    one = PLDA(backbone(12), 1, None, PLDASettings(num_parts=0)).eval()
    one.finish(torch.from_numpy(data.features).float(), torch.from_numpy(data.labels))
    assert one(torch.zeros(2, 3, 16, 16)).log_ratios is None
    assert one.types_found().known_out is None


def test_known_types_come_first_and_novel_ones_are_found():
    plda, embeddings, data = fitted()
    assert plda.num_active == 5
    guess = plda.classify(Features(embeddings)).argmax(dim=1).numpy()
    assert (guess[data.truth < 3] == data.truth[data.truth < 3]).mean() > 0.95
    for novel in (3, 4):
        assert np.bincount(guess[data.truth == novel]).max() > 0.9 * (data.truth == novel).sum()
    assert 0.1 < plda.novel_share < 4 / 7  # of the unlabelled images


def test_a_number_of_types_that_is_given_is_kept():
    assert fitted(num_classes=6)[0].num_active == 6


def test_the_interval_of_the_number_is_kept():
    plda, _, _ = fitted(num_parts=2)
    low, high = plda.interval.tolist()
    assert low <= plda.num_active <= high


def test_before_the_fit_a_classifier_of_the_known_types_predicts():
    logits = method()(torch.zeros(2, 3, 16, 16)).logits
    assert logits.shape == (2, 3)


def test_a_run_without_an_epoch_predicts_by_types_of_the_embedding(tmp_path):
    data = make_data(tmp_path / "data", per_class=24)
    earlier = load_settings("supervised", None, [*TINY, "epochs=1"])
    weights = train(data.split, tmp_path / "earlier", settings=earlier).folder
    options = [*TINY, "epochs=0", "method.num_parts=0", "onnx=true", f"backbone.weights={weights}"]
    given = [each for option in options for each in ("--set", option)]
    split, folder = str(data.split), tmp_path / "run"
    printed = done(
        "train", "--split", split, "--method", "plda", "--recipe", "tiny", *given, "-o", folder
    )
    run = Run.open(folder)
    told = run.types_found
    assert all(line in printed for line in told.lines)
    assert checkpoint.read_weights(run.checkpoint)["num_types"] == told.num_types
    by_graph = predict(run.folder, "split:test", tmp_path / "graph.parquet")
    assert by_graph.metadata.engine.startswith("onnxruntime")
    assert by_graph.metadata.types_found == told
    file = tmp_path / "model.onnx"
    export(run.folder, file)
    by_file = predict(file, "split:test", tmp_path / "file.csv", split=data.split)
    assert by_file.metadata.types_found == told
    assert by_file.table == by_graph.table
    assert '"log_ratio"' in (tmp_path / "file.csv").read_text()

    run.model.unlink()
    by_torch = predict(run.folder, "split:test", tmp_path / "torch.parquet").table
    for name in ("log_ratio", "known_log_ratio", "unseen_log_ratio"):
        np.testing.assert_allclose(by_torch[name], by_graph.table[name], rtol=1e-3, atol=1e-3)
    assert by_torch["known_index"] == by_graph.table["known_index"]
    image = Predictor.open(run.folder).predict_image(np.zeros((SIDE, SIDE, 3), np.uint8))
    assert np.isfinite(image.log_ratio)
    ratios = score(tmp_path / "graph.parquet", data.split).ratios
    assert ratios["right"] + ratios["wrong"] == by_torch.num_rows


def test_the_recipe_fits_types_to_the_embedding_of_a_stage(tmp_path):
    data = make_data(tmp_path / "data", per_class=24)
    tiny = [each for each in TINY if not each.startswith(("epochs", "stages"))]
    settings = load_settings("plda-tiny", None, [*tiny, "method.num_parts=0"])
    short = tuple(
        each.model_copy(update={"settings": {**each.settings, "epochs": 1}})
        for each in settings.stages
    )
    run = train(
        data.split, tmp_path / "run", settings=settings.model_copy(update={"stages": short})
    )
    before = checkpoint.read_weights(tmp_path / "run" / "stages" / "cal" / "checkpoints" / "last")
    after = checkpoint.read_weights(run.checkpoint)
    backbone = [name for name in after if name.startswith("backbone.")]
    assert backbone
    assert all(torch.equal(after[name], before[name]) for name in backbone)
    assert after["num_types"] >= 2


@pytest.mark.slow
def test_it_is_fitted_to_the_network_of_a_run_and_set_beside_it(tmp_path, run_options):
    photos = make_noise(tmp_path / "photos")
    said = done("run", f"folder:{photos}", "-o", tmp_path / "run", *run_options, "--refit", "plda")
    rows = [line.split()[0] for line in said.splitlines() if line]
    assert rows.count("cal") == rows.count("plda") >= 2
    own, refit = Run.open(tmp_path / "run"), Run.open(tmp_path / "run" / "refit")
    assert refit.settings.epochs == 0
    networks = [each.method().backbone.state_dict() for each in (own, refit)]
    assert all(torch.equal(value, networks[1][name]) for name, value in networks[0].items())
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "<th>plda</th>" in page


def test_a_method_that_is_trained_cannot_be_fitted_to_a_network(tmp_path, run_options):
    photos = make_noise(tmp_path / "photos")
    options = [*run_options, "--refit", "cal"]
    line = refused("run", f"folder:{photos}", "-o", tmp_path / "run", *options)
    assert "--refit cal" in line
    assert "--baseline cal" in line
    assert not (tmp_path / "run").exists()
