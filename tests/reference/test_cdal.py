"""CDAL against numbers recorded from its authors' release (commit 392ce5e)."""

import pytest
import torch

from owdfa.methods.cdal import Attention, attention_features, auxiliary_loss
from owdfa.records.training import UNLABELLED
from reference.recordings import arrays, note

CLOSE = {"rtol": 1e-6, "atol": 1e-6}


def tensors(prefix):
    return {
        name.removeprefix(prefix): torch.from_numpy(array)
        for name, array in arrays("cdal").items()
        if name.startswith(prefix)
    }


def attention_of(case, weights):
    """An attention with recorded weights; the release keeps all kernels flat."""
    attention = Attention(case["channels"], case["num_attention_maps"], case["num_experts"])
    own = attention.double().state_dict()
    names = {name.replace(".cond_conv.weight", ".kernels"): name for name in weights}
    assert names.keys() == own.keys()
    attention.load_state_dict({ours: weights[theirs] for ours, theirs in names.items()})
    return attention.eval()


@pytest.mark.parametrize("case", note("cdal")["modules"], ids=lambda case: f"case {case['case']}")
def test_attention(case):
    prefix = f"c{case['case']}_"
    given = tensors(prefix)
    maps = given["features"]
    with torch.no_grad():
        attention = attention_of(case, tensors(f"{prefix}cfi."))(maps)
        counterfactual = attention_of(case, tensors(f"{prefix}cdal.cfi."))(maps)
    pairs = {
        "attention": attention,
        "counterfactual_attention_train": counterfactual,
        "factual": attention_features(attention, maps),
        "counterfactual_train": attention_features(counterfactual, maps),
        "counterfactual_eval": attention_features(torch.ones_like(attention), maps),
    }
    for name, found in pairs.items():
        torch.testing.assert_close(found, given[name], **CLOSE)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("case", note("cdal")["aux_loss"], ids=lambda case: f"case {case['case']}")
def test_auxiliary_loss(case, shuffle):
    given = tensors(f"aux{case['case']}_")
    logits, counterfactual = (given[n].requires_grad_() for n in ("raw", "counterfactual"))
    labels = torch.full((len(logits),), UNLABELLED)
    labels[: case["num_labelled"]] = given["target"]
    order = torch.randperm(len(labels)) if shuffle else torch.arange(len(labels))

    found = auxiliary_loss(logits[order], counterfactual[order], labels[order], case["margin"])
    found.backward()

    assert found.item() == pytest.approx(case["aux_loss"], rel=1e-6, abs=1e-6)
    torch.testing.assert_close(logits.grad, given["grad_raw"], **CLOSE)
    torch.testing.assert_close(counterfactual.grad, given["grad_counterfactual"], **CLOSE)
