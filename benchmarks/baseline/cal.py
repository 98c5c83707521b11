"""CAL's training step as a plain author writes it from the paper.

Every statistic is fetched with ``.item()`` in every step, and the epoch's logits are kept.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, softmax

from benchmarks.baseline.network import PlainNetwork


@dataclass
class PlainTraining:
    """The network, its optimiser and what an epoch leaves."""

    network: PlainNetwork
    optimizer: torch.optim.Optimizer
    num_known: int
    epochs: int
    novel_threshold: float = 0.0
    warm_up_epochs: int = 5
    logits: list[Tensor] = field(default_factory=list)  # of the weak view, (B, C) a step
    strong: list[Tensor] = field(default_factory=list)  # what the strong view chose, (B,)
    log: list[dict[str, float]] = field(default_factory=list)

    def step(self, weak_view: Tensor, strong_view: Tensor, labels: Tensor, epoch: int) -> None:
        """One step of training, ``epoch`` counted from 0; an image without a label has -1."""
        weak, strong = self.network(weak_view)[0], self.network(strong_view)[0]
        terms = self.terms(weak, strong, labels, epoch)
        loss = terms["ce"] + terms["r"] + terms["acr"] + 0.2 * terms["ccr"]
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.logits.append(weak.detach().cpu())
        self.strong.append(strong.detach().argmax(dim=1).cpu())
        labelled = labels >= 0
        right = (weak.argmax(dim=1) == labels)[labelled].float().mean().item()
        values = {name: term.item() for name, term in terms.items()}
        self.log.append({"loss": loss.item(), "labelled_accuracy": right, **values})

    def terms(self, weak: Tensor, strong: Tensor, labels: Tensor, epoch: int) -> dict[str, Tensor]:
        """The four terms of the loss."""
        zero, labelled = weak.new_zeros(()), labels >= 0
        ce = zero
        if labelled.any().item():
            both = torch.cat([weak[labelled], strong[labelled]])
            ce = cross_entropy(both, torch.cat([labels[labelled], labels[labelled]]))
        mean = softmax(torch.cat([weak, strong]), dim=1).mean(dim=0)
        r = (math.log(weak.shape[1]) + (mean * torch.log(mean)).sum()) / 2
        teacher = softmax(weak.detach() / 0.1, dim=1)
        sure, progress = teacher.max(dim=1)[0], (epoch + 1) / self.epochs
        weight = (1 - progress) * sure + progress * (1 - sure)
        ccr = (weight * -(teacher * log_softmax(strong, dim=1)).sum(dim=1)).mean()
        acr = zero
        if epoch >= self.warm_up_epochs:
            acr = self._reinforcement(weak, ~labelled)
        return {"ce": ce, "r": r, "acr": acr, "ccr": ccr}

    def _reinforcement(self, weak: Tensor, unlabelled: Tensor) -> Tensor:
        confidence, guess = softmax(weak.detach(), dim=1).max(dim=1)
        known = guess < self.num_known
        kept = known & (confidence >= 0.9) | ~known & (confidence >= self.novel_threshold)
        kept = kept & unlabelled
        if kept.sum().item() == 0:
            return weak.new_zeros(())
        return cross_entropy(weak[kept], guess[kept])
