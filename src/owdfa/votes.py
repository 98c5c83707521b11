"""Which image of a batch is a positive partner of which: global neighbours, confirmed by votes.

CPL (Sun et al., ICCV 2023, arXiv:2309.11132) and MPSL (Sun et al., IJCV 2025). An unlabelled
image's neighbour is the nearest other image by global features. A similarity of another kind votes
for the pair when the image has an equally near neighbour in it::

    confirmed_i  =  second largest of row i  >=  second largest of column n_i

where the largest is, as a rule, the image itself. All of it without gradients, in float32 at least,
and without waiting for the device.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from owdfa.records.training import UNLABELLED

Similarity = Float[Tensor, "batch batch"]


class Votes(NamedTuple):
    """What similarities say of each image's nearest neighbour."""

    neighbours: Int[Tensor, "batch"]  # by global features
    num_votes: Int[Tensor, "batch"]  # how many similarities confirm the pair


def cast_votes(embedding: Float[Tensor, "batch dim"], similarities: Sequence[Similarity]) -> Votes:
    """Let similarities vote for nearest neighbours."""
    neighbours = nearest_neighbours(embedding)
    votes = torch.stack([confirms(each, neighbours) for each in similarities])
    return Votes(neighbours, votes.sum(dim=0))


def nearest_neighbours(embedding: Float[Tensor, "batch dim"]) -> Int[Tensor, "batch"]:
    """The nearest other image of each, by cosine."""
    unit = normalize(_precise(embedding), dim=1)
    with torch.autocast(embedding.device.type, enabled=False):
        similarity = unit @ unit.T
    return similarity.fill_diagonal_(-torch.inf).argmax(dim=1)


def part_similarity(parts: Float[Tensor, "batch dim cells"]) -> Similarity:
    """Sum over cells of cosines, weighted by what the first image has in each.

    ``P[i, r] = sum over p of a_ip cos(f_ip, f_rp)``, where a_i are the lengths of image i's cell
    features, scaled to length 1 over the cells. Not symmetric.
    """
    parts = _precise(parts)
    weights = normalize(parts.norm(dim=1), dim=1)
    unit = normalize(parts, dim=1)
    return _products(weights[:, None] * unit, unit)


def band_similarity(band: Float[Tensor, "batch dim cells"]) -> Similarity:
    """Sum over cells of the cosines of a frequency band."""
    unit = normalize(_precise(band), dim=1)
    return _products(unit, unit)


def confirms(similarity: Similarity, neighbours: Int[Tensor, "batch"]) -> Bool[Tensor, "batch"]:
    """Whether a similarity votes for each image's neighbour; see the top of this file."""
    second_of_row = similarity.topk(2, dim=1).values[:, 1]
    second_of_column = similarity.topk(2, dim=0).values[1]
    return second_of_row >= second_of_column[neighbours]


def choose_partners(
    labels: Int[Tensor, "batch"],
    neighbours: Int[Tensor, "batch"],
    confirmed: Bool[Tensor, "batch"],
    noise: Float[Tensor, "batch batch"],
) -> Int[Tensor, "batch"]:
    """Choose each image's partner.

    For a labelled image another one of its class, the one with the greatest ``noise`` in its row;
    for an unlabelled image its confirmed neighbour. Where there is none, the image itself.
    """
    itself = torch.arange(len(labels), device=labels.device)
    labelled = labels != UNLABELLED
    same = (labels[:, None] == labels) & labelled
    same.fill_diagonal_(False)
    companion = noise.masked_fill(~same, -torch.inf).argmax(dim=1)
    partner = companion.where(labelled, neighbours)
    return partner.where(torch.where(labelled, same.any(dim=1), confirmed), itself)


def _precise(features: Tensor) -> Tensor:
    """Without gradient, and not in half precision, where nearly equal neighbours become equal."""
    features = features.detach()
    return features if features.dtype == torch.float64 else features.float()


def _products(
    one: Float[Tensor, "batch dim cells"], other: Float[Tensor, "batch dim cells"]
) -> Similarity:
    with torch.autocast(one.device.type, enabled=False):
        return one.flatten(1) @ other.flatten(1).T
