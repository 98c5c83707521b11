"""CPL, MPSL and the pseudo-label rules against numbers recorded from their authors' release."""

import pytest
import torch
from torch import nn

from owdfa.backbones.base import Backbone, build
from owdfa.methods.base import method_type
from owdfa.methods.cpl import CPL, CPLSettings
from owdfa.methods.mpsl import MPSL, MPSLSettings
from owdfa.pseudo_labels import PseudoLabelSettings, hard_pseudo_label_loss, make_rule
from owdfa.records.training import UNLABELLED, Features
from owdfa.runs.official import import_checkpoint, read_official
from owdfa.votes import cast_votes, choose_partners, part_similarity
from reference.recordings import FOLDER, Recording, arrays, note

TERMS = {
    "CPL": {"ce": "ce_loss", "glv": "glv_loss", "csp": "csp_loss", "entropy": "en_loss"},
    "MPSL": {"ce": "ce_loss", "mpv": "mpv_loss", "fcp": "fcp_loss", "entropy": "en_loss"},
}
AS_RECORDED = {f"cells{i}": f"part_features_{n}x{n}" for i, n in enumerate((3, 5, 7))}
AS_RECORDED |= {f"band{i}": f"freq_features_{i}" for i in range(3)}
EXACT = {"rtol": 1e-9, "atol": 1e-9}


def cases(method):
    found = []
    for entry in note("cpl_mpsl_losses"):
        prefix = f"{entry['method'].lower()}{entry['case']}_"
        own = {
            name.removeprefix(prefix): torch.from_numpy(array)
            for name, array in arrays("cpl_mpsl_losses").items()
            if name.startswith(prefix)
        }
        if entry["method"] == method:
            found.append(Recording(entry, own))
    return pytest.mark.parametrize("recording", found, ids=repr)


def empty_backbone():
    return Backbone("none", nn.Identity(), (0, 0, 0), (1, 1, 1))


def with_labels_first(case, given):
    """Labels, and soft labels for all rows, of a batch whose labelled images come first."""
    num_labelled = case["num_labelled"]
    labels = torch.full((case["batch"],), UNLABELLED)
    labels[:num_labelled] = given["target"]
    soft_labels = torch.zeros_like(given["logits"])
    soft_labels[num_labelled:] = given["gumbel_soft_labels"]
    return labels, soft_labels


def check(found, logits, recording):
    case, given = recording.note, recording.arrays
    found.total.backward()
    assert found.total.item() == pytest.approx(case["total_loss"], rel=1e-9, abs=1e-9)
    for ours, theirs in TERMS[case["method"]].items():
        assert found.terms[ours].item() == pytest.approx(case[theirs], rel=1e-9, abs=1e-9), ours
    torch.testing.assert_close(logits.grad, given["grad"], **EXACT)


def shuffled(recording, seed):
    """The order of rows to try: as recorded, or any."""
    num_rows = recording.note["batch"]
    if seed is None:
        return torch.arange(num_rows)
    return torch.randperm(num_rows, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", [None, 0])
@cases("CPL")
def test_cpl_losses(recording, seed):
    case, given = recording.note, recording.arrays
    order = shuffled(recording, seed)
    settings = CPLSettings(
        margin=case["margin"],
        **dict(zip(("glv_weight", "csp_weight", "entropy_weight"), case["eta"], strict=True)),
    )
    method = CPL(empty_backbone(), 1, case["num_classes"], settings).double()
    labels, soft_labels = with_labels_first(case, given)
    logits = given["logits"].clone().requires_grad_()
    embedding, parts = given["global_features"], given["part_features"]
    votes = cast_votes(embedding[order], [part_similarity(parts[order])])
    noise = torch.rand(len(labels), len(labels))

    found = method.losses(logits[order], labels[order], votes, soft_labels[order], noise)

    check(found, logits, recording)
    confirmed = votes.num_votes > 0
    partners = choose_partners(labels[order], votes.neighbours, confirmed, noise)
    assert torch.equal(order[partners], given["positive_pairs"][order])
    unlabelled = labels[order] == UNLABELLED
    expected = given["mask"][order[unlabelled] - case["num_labelled"]] > 0
    assert torch.equal(confirmed[unlabelled], expected)


@pytest.mark.parametrize("seed", [None, 0])
@cases("MPSL")
def test_mpsl_losses(recording, seed):
    case, given = recording.note, recording.arrays
    order = shuffled(recording, seed)
    settings = MPSLSettings(
        margin=case["margin"],
        **dict(zip(("mpv_weight", "fcp_weight", "entropy_weight"), case["eta"], strict=True)),
    )
    method = MPSL(empty_backbone(), 1, case["num_classes"], settings).double()
    labels, soft_labels = with_labels_first(case, given)
    logits = given["logits"].clone().requires_grad_()
    parts = {f"cells{i}": given[f"part_features_{n}x{n}"] for i, n in enumerate((3, 5, 7))}
    parts |= {f"band{i}": given[f"freq_features_{i}"] for i in range(3)}
    parts = {name: part[order] for name, part in parts.items()}
    votes = method.votes(Features(given["global_features"][order], parts=parts))
    noise = torch.rand(len(labels), len(labels))

    found = method.losses(logits[order], labels[order], votes, soft_labels[order], noise)

    check(found, logits, recording)
    unlabelled = labels[order] == UNLABELLED
    cells, bands = (each.num_votes > 0 for each in votes)
    for name, confirmed in (("mask_both", cells & bands), ("mask_either", cells | bands)):
        expected = given[name][order[unlabelled] - case["num_labelled"]] > 0
        assert torch.equal(confirmed[unlabelled], expected), name


@pytest.mark.parametrize("case", note("cpl_mpsl_model"), ids=lambda case: case["method"])
def test_released_checkpoint(case):
    name = case["method"]
    given = {key: torch.from_numpy(each) for key, each in arrays("cpl_mpsl_model").items()}
    official = read_official(FOLDER / case["checkpoint"], name.lower())
    assert official.num_classes == official.num_active == case["num_classes"]
    own = method_type(name.lower())
    method = own(build(f"timm/{case['encoder']}"), 2, case["num_classes"], own.settings_type())
    method.load_state_dict(official.state)
    method.eval()
    with torch.no_grad():
        images = given[f"{name}_x"]
        found = method(images)
        (maps,) = method.backbone(images)
        parts = {"part_features": method.cells(maps)} if name == "CPL" else method.parts(maps)
    parts = {AS_RECORDED.get(part, part): tensor for part, tensor in parts.items()}

    pairs = {"logits": found.logits, "global_features": found.embedding, **parts}
    assert {f"{name}_{part}" for part in pairs} | {f"{name}_x"} == {
        key for key in given if key.startswith(f"{name}_")
    }
    for part, ours in pairs.items():
        theirs = given[f"{name}_{part}"]
        scale = theirs.abs().max().item()
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("name", ["max", "fixmatch", "flexmatch", "freematch"])
def test_pseudo_label_rules(name):
    run, given = note("pseudo_hooks"), arrays("pseudo_hooks")
    num_labelled = run["num_labelled"]
    settings = PseudoLabelSettings(
        rule=name,
        weight=run["weight"],
        threshold=run["p_cutoff"],
        momentum=run["freematch_momentum"],
    )
    rule = make_rule(settings, run["num_classes"]).double()
    everything = torch.full((run["num_unlabelled_total"] + num_labelled,), UNLABELLED)
    everything[-num_labelled:] = 0
    rule.begin_training(everything)
    for step in run["steps"]:
        logits = torch.from_numpy(given[f"s{step['step']}_logits"])
        unlabelled = torch.arange(len(logits)) >= num_labelled
        rows = torch.arange(run["num_unlabelled_total"], len(everything))
        rows = torch.cat([rows, torch.from_numpy(given[f"s{step['step']}_unlabelled_index"])])
        order = torch.randperm(len(logits))
        rule.begin_step(rows[order])
        loss = settings.weight * hard_pseudo_label_loss(rule, logits[order], unlabelled[order])
        assert loss.item() == pytest.approx(step[name], rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("case", note("cpl_mpsl_model"), ids=lambda case: case["method"])
def test_a_released_checkpoint_becomes_a_run_that_predicts(tmp_path, case):
    names = [f'"c{i}"' for i in range(case["num_classes"])]
    known, novel = ", ".join(names[:5]), ", ".join(names[5:])
    (tmp_path / "own.toml").write_text(f"[p1]\nknown = [{known}]\nnovel = [{novel}]\n")
    run = import_checkpoint(
        FOLDER / case["checkpoint"],
        tmp_path / "run",
        method=case["method"].lower(),
        protocol=f"{tmp_path / 'own.toml'}/p1",
        backbone=f"timm/{case['encoder']}",
        size=case["image_size"],
    )
    given = arrays("cpl_mpsl_model")
    with torch.no_grad():
        found = run.method()(torch.from_numpy(given[f"{case['method']}_x"])).logits
    expected = torch.from_numpy(given[f"{case['method']}_logits"])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
