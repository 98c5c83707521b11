"""Maps of several stages of one network."""

from concurrent.futures import ThreadPoolExecutor

import torch

from owdfa.backbones.base import build


def test_threads_that_share_a_network_get_their_own_maps():
    backbone = build("tiny/trace8w16").eval()
    images = [torch.rand(2, 3, 64, 64) for _ in range(64)]

    @torch.inference_mode()
    def maps(each):
        return backbone(each, stages=(0, 1, -1))

    alone = [maps(each) for each in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(maps, images))
    assert all(map(torch.equal, sum(together, ()), sum(alone, ())))
