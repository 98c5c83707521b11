"""Feature maps of the backbone's stages, which some methods read beside the last one."""

import copy
from concurrent.futures import ThreadPoolExecutor

import torch

from owdfa.backbones.base import build


def test_a_copied_backbone_gives_its_own_maps():
    backbone = build("tiny/trace8w16").eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = backbone(images, stages=(0,))[0].clone()
        copied = copy.deepcopy(backbone)
        for parameter in copied.parameters():
            parameter.zero_()
        assert not copied(images, stages=(0,))[0].any()
        assert torch.equal(backbone(images, stages=(0,))[0], before)


def test_the_order_of_stages_is_that_asked_for():
    backbone = build("tiny/trace8w16").eval()
    images = torch.randn(2, 3, 32, 32)
    last, first, again = backbone(images, stages=(-1, 0, -1))
    assert last.shape[1:] == (256, 4, 4)
    assert first.shape[1:] == (16, 16, 16)
    assert torch.equal(last, again)
    assert torch.equal(last, backbone(images)[0])


def test_maps_are_compiled_as_one_graph_once():
    backbone = build("tiny/trace8w16").eval()
    images = torch.randn(2, 3, 32, 32)
    torch._dynamo.reset()
    with torch._dynamo.config.patch(error_on_recompile=True):
        compiled = torch.compile(lambda x: backbone(x, (0, -1)), fullgraph=True, backend="eager")
        for _ in range(2):
            found = compiled(images)
    torch.testing.assert_close(found, backbone(images, (0, -1)))


def test_two_threads_may_use_one_network():
    backbone = build("tiny/trace8w16").eval()
    batches = [torch.randn(2, 3, 32, 32) for _ in range(8)]

    def first_maps(images):
        with torch.no_grad():
            return backbone(images, stages=(0,))[0]

    expected = list(map(first_maps, batches))
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(first_maps, batches))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
