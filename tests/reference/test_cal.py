"""CAL against numbers recorded from its authors' release."""

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import StepLR

from owdfa.backbones.base import Backbone, build
from owdfa.dpp import num_to_keep, prune
from owdfa.layers import FrequencyEnhancement
from owdfa.methods.cal import CAL, CALSettings, agreement_stats, next_novel_threshold
from owdfa.records.training import UNLABELLED, Batch, Progress
from owdfa.runs.official import read_official
from owdfa.training.optimizer import move_rows
from reference.recordings import FOLDER, Recording, arrays, cases, note, tensors
from small_networks import losses

LABELLED_TAG = 1
TERMS = {"ce": "supervised", "r": "regularization", "acr": "acr", "ccr": "ccr"}


def hide(target, tag):
    """Labels as a method may see them."""
    return target.long().where(tag == LABELLED_TAG, UNLABELLED)


@pytest.mark.parametrize("recording", cases("cal_losses"), ids=repr)
def test_losses(recording: Recording):
    case, given = recording.note, tensors(recording)
    settings = CALSettings(
        ccr_weight=case["ccr_weight"],
        student_temperature=case["student_temp"],
        teacher_temperature=case["teacher_temp"],
        known_threshold=case["gamma"],
        warm_up_epochs=case["warmup_epochs"],
    )
    backbone = Backbone("none", nn.Identity(), (0, 0, 0), (1, 1, 1))
    method = CAL(backbone, case["num_known"], case["num_classes"], settings).double()
    method.novel_threshold.fill_(case["novel_threshold"])
    weak, strong = (given[view].requires_grad_() for view in ("weak", "strong"))
    progress = Progress(case["epoch"], case["max_epochs"])

    found = method.losses(weak, strong, hide(given["target"], given["tag"]), progress)
    found.total.backward()

    assert found.total.item() == pytest.approx(case["total"], rel=1e-9, abs=1e-9)
    for ours, theirs in TERMS.items():
        assert found.terms[ours].item() == pytest.approx(case[theirs], rel=1e-9, abs=1e-9)
    torch.testing.assert_close(weak.grad, given["grad_weak"], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(strong.grad, given["grad_strong"], rtol=1e-9, atol=1e-9)

    agreement = agreement_stats(weak.detach(), strong.detach(), case["num_known"])
    sides = ("known", "novel")
    recorded = [[case[f"{side}_conf_sum"], case[f"{side}_conf_count"]] for side in sides]
    expected = torch.tensor(recorded, dtype=torch.float64)
    torch.testing.assert_close(agreement, expected, rtol=1e-9, atol=1e-9)
    threshold = next_novel_threshold(method.novel_threshold, agreement, case["gamma"])
    assert threshold.item() == pytest.approx(case["novel_threshold_next_epoch"], abs=1e-9)


@pytest.mark.parametrize("recording", cases("dpp"), ids=repr)
def test_pruning(recording: Recording):
    case, given = recording.note, tensors(recording)
    ranked = given["usage"][case["num_known"] :].sort(descending=True).values
    assert num_to_keep(ranked, case["coverage"]) == case["num_novel_kept"]

    found = prune(given["prototypes"], given["usage"], case["num_known"], case["coverage"])
    assert len(found.prototypes) == len(found.sources) == case["num_after"]
    torch.testing.assert_close(found.prototypes, given["merged"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("recording", cases("ffe"), ids=repr)
def test_attention(recording: Recording):
    given = tensors(recording)
    ffe = FrequencyEnhancement().double()
    weights = {
        name.replace("freq_attn_net", "mask"): value
        for name, value in given.items()
        if name.startswith("freq_attn_net")
    }
    ffe.load_state_dict(weights)
    torch.testing.assert_close(ffe.attention(given["x"]), given["out"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("recording", cases("model"), ids=repr)
def test_released_checkpoint(recording: Recording):
    case, given = recording.note, tensors(recording)
    official = read_official(FOLDER / case["checkpoint"], "cal")
    assert (official.num_classes, official.num_active) == (
        case["num_prototypes"],
        case["num_valid_prototypes"],
    )
    backbone = build(f"timm/{case['encoder']}")
    method = CAL(backbone, case["num_known"], case["num_prototypes"], CALSettings())
    method.load_state_dict(official.state)
    method.eval()
    with torch.no_grad():
        found = method(given["x"])
        attention = method.ffe.attention(given["x"])

    pairs = {"attention": attention, "features": found.embedding, "logits": found.logits}
    for name, ours in pairs.items():
        scale = given[name].abs().max().item()
        torch.testing.assert_close(ours, given[name], rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("name", sorted(p.stem for p in FOLDER.glob("trajectory_*.json")))
def test_training(name):
    run, given = note(name), arrays(name)
    method = method_of(run, FOLDER / f"{name}_init.ckpt")
    parameters = [p for p in method.parameters() if p.requires_grad]
    settings = {"lr": run["lr"], "weight_decay": run["weight_decay"]}
    optimizer = getattr(torch.optim, run["optimizer"])(parameters, **settings)
    schedule = StepLR(optimizer, **run["step_lr"])
    steps = {(step["epoch"], step["step"]): step for step in run["steps_log"]}

    for epoch in range(run["epochs"]):
        progress = Progress(epoch, run["epochs"])
        for step in range(run["steps"]):
            recorded = steps[epoch, step]
            assert method.num_active == recorded["num_prototypes"]
            close(method.novel_threshold, recorded["novel_threshold"])
            batch = batch_of(given, f"e{epoch}s{step}", run["normalisation"])
            found = losses(method, batch, progress)
            optimizer.zero_grad()
            found.total.backward()
            optimizer.step()
            close(found.total, recorded["total"])
            for ours, theirs in TERMS.items():
                close(found.terms[ours], recorded[theirs])
        for move in method.end_epoch(progress).moves:
            move_rows(optimizer, move)
        schedule.step()

    assert method.num_active == run["final_num_prototypes"]
    close(method.novel_threshold, run["final_novel_threshold"])
    live = method.prototypes.vectors[: method.num_active].detach()
    final = torch.from_numpy(given["final_prototypes"])
    torch.testing.assert_close(live, final, rtol=1e-6, atol=1e-6 * final.abs().max().item())
    assert not method.prototypes.vectors[method.num_active :].any()


def method_of(run, checkpoint):
    settings = CALSettings(
        ccr_weight=run["ccr_weight"],
        student_temperature=run["student_temp"],
        teacher_temperature=run["teacher_temp"],
        known_threshold=run["gamma"],
        warm_up_epochs=run["warmup_epochs"],
        coverage=run["coverage"],
        dropout=run["dropout"],
    )
    backbone = build(f"timm/{run['encoder']}")
    method = CAL(backbone, run["num_known"], run["num_prototypes"], settings)
    method.prunes = run["prune"]
    method.to(getattr(torch, run["dtype"]))
    method.load_state_dict(read_official(checkpoint, "cal").state)
    return method.train()


def batch_of(given, prefix, normalisation):
    """A recorded batch, normalised as in ``"(uint8/255 - 0.5)/0.25"``."""
    numbers = re.fullmatch(r"\(uint8/255 - ([\d.]+)\)/([\d.]+)", normalisation)
    mean, std = (float(number) for number in numbers.groups())
    weak, strong = (
        torch.from_numpy((given[f"{prefix}_{view}"] / np.float64(255) - mean) / std)
        for view in ("weak", "strong")
    )
    target, tag = (torch.from_numpy(given[f"{prefix}_{name}"]) for name in ("target", "tag"))
    return Batch((weak, strong), hide(target, tag), torch.arange(len(target)))


def close(found, recorded):
    assert found.item() == pytest.approx(recorded, rel=1e-6, abs=1e-9)
