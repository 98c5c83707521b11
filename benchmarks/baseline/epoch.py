"""The end of CAL's epoch as a plain author writes it: from all logits of the epoch, N x C."""

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, softmax


def novel_threshold(
    logits: Tensor, strong: Tensor, num_known: int, before: float, gamma: float = 0.9
) -> float:
    """gamma_n from the weak logits (N, C) and what the strong views chose (N,)."""
    confidence, guess = softmax(logits, dim=1).max(dim=1)
    agree = guess == strong
    known, novel = agree & (guess < num_known), agree & (guess >= num_known)
    if known.sum().item() == 0 or novel.sum().item() == 0:
        return before
    ratio = confidence[novel].mean().item() / confidence[known].mean().item()
    return gamma * min(max(ratio, 0.1), 10.0)


def prune(prototypes: Tensor, logits: Tensor, num_known: int, coverage: float = 0.9544) -> Tensor:
    """Merge rarely chosen novel prototypes (C, D) into the others, by the logits (N, C)."""
    guess = logits.argmax(dim=1)
    usage = [(guess == number).sum().item() for number in range(num_known, len(prototypes))]
    order = sorted(range(len(usage)), key=lambda row: -usage[row])
    num_kept = _num_to_keep([usage[row] for row in order], coverage)
    if num_kept == len(usage):
        return prototypes
    novel = prototypes[num_known:]
    receives: dict[int, list[int]] = {row: [] for row in order[:num_kept]}
    kept = torch.stack([novel[row] for row in order[:num_kept]])
    for row in order[num_kept:]:
        nearest = cosine_similarity(novel[row][None], kept).argmax().item()
        receives[order[int(nearest)]].append(row)
    merged = []
    for row, others in receives.items():
        vector = novel[row]
        if others:
            vector = torch.stack([vector, *(novel[other] for other in others)]).mean(dim=0)
            vector = vector / vector.norm()
        merged.append(vector)
    return torch.cat([prototypes[:num_known], torch.stack(merged)])


def _num_to_keep(usage: list[float], coverage: float) -> int:
    """How many of the decreasing counts to keep."""
    total = sum(usage)
    if total == 0:
        return len(usage)
    covered, k = 0.0, 0
    for k, count in enumerate(usage):  # noqa: B007
        covered += count
        if covered / total >= coverage:
            break
    tail = usage[k:]
    steps = [abs(tail[i + 1] - tail[i]) for i in range(len(tail) - 1)]
    if not steps:
        return len(usage)
    mean, step = sum(tail) / len(tail), sum(steps) / len(steps)
    last = k
    for i in range(k + 1, len(usage)):
        if usage[i] < mean and abs(usage[i] - usage[i - 1]) < step:
            break
        last = i
    return last + 1
