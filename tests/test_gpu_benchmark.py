"""The measurement on a GPU, tried without one: what it counts, and that parts fill their rows."""

import json

import torch
from torch import nn

from benchmarks import gpu
from benchmarks.on_gpu import parts, roofline
from benchmarks.on_gpu.bench import TOY, Bench
from benchmarks.on_gpu.board import PENDING, ROWS, Board
from benchmarks.on_gpu.data import NUM_KNOWN
from benchmarks.on_gpu.plain import plain_network
from benchmarks.on_gpu.rates import Rates
from owdfa.backbones.base import build
from owdfa.runs.assembly import assemble
from owdfa.runs.settings import load_settings

RATES = Rates(copy=1e9, link=1e9, bfloat16=1e12, float32=1e10)


def test_the_table_stands_before_anything_is_measured(tmp_path):
    assert gpu.main(["--list", "--output", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "gpu.json").read_text())["tables"][0]["rows"]
    assert len(rows) == len(ROWS)
    assert all(row[2] == PENDING for row in rows)


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert "no GPU" in capsys.readouterr().out


def test_a_part_that_fails_leaves_the_others_rows(monkeypatch, tmp_path, capsys):
    def fails(bench, board):
        board.set("copy", 3.0, "GB/s")
        raise RuntimeError("broken")

    def works(bench, board):
        board.set("link", 4.0, "GB/s")

    monkeypatch.setattr(gpu, "PARTS", ((fails, 1), (works, 1)))
    assert gpu.main(["--toy", "--output", str(tmp_path)]) == 1
    rows = {row[0]: row[2] for row in json.loads(read(tmp_path))["tables"][0]["rows"]}
    assert rows[ROWS["copy"][0]] == "3.00 GB/s"
    assert rows[ROWS["link"][0]] == "4.00 GB/s"
    assert rows[ROWS["epoch"][0]] == PENDING
    assert "failed: fails" in capsys.readouterr().out


def read(folder):
    return (folder / "gpu.json").read_text()


class Small(nn.Module):
    """A convolution of 3 to 4 channels, batch norm, one of stride 2 to 5 channels."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 5, 1, 2, bias=False),
        )
        self.ffe = None


def test_the_work_of_a_step_is_counted_by_hand():
    images, width = 2 * 7, 2  # two views of seven; bytes
    x, a, b = 3 * 64, 4 * 64, 5 * 16  # elements of the image, the first map, the last
    found = roofline.count(Small(), batch=7, size=8)
    weights = 4 * 27 + 8 + 5 * 4
    flop = 2 * a * 27 + 2 * b * 4
    assert found.forward == (images * width * ((x + a) + 3 * a + (a + b)), images * flop, 0)
    backward = (x + a) + 5 * a + 2 * (a + b)
    assert found.backward == (images * width * backward, images * (2 * flop - 2 * a * 27), 0)
    assert found.optimiser == (28 * weights, 0, 0)
    whole = roofline.count(Small(), batch=7, size=8, half=False)
    assert whole.forward == (2 * found.forward.num_bytes, 0, found.forward.matrix)


def test_the_least_time_is_bytes_over_bandwidth_and_flop_over_rate():
    moving, computing = roofline.Work(2e9, 3e12, 4e10).seconds(RATES, half=True)
    assert (moving, computing) == (2.0, 3.0 + 4.0)


def test_the_plain_network_is_as_large_as_ours():
    settings = load_settings("gpu")
    ours = assemble(settings, NUM_KNOWN, build(settings.backbone.name))
    theirs = plain_network(settings)
    counts = [sum(each.numel() for each in m.parameters()) for m in (ours, theirs)]
    assert counts[0] == counts[1]


def test_the_parts_fill_their_rows(tmp_path):
    bench, board = Bench(TOY, tmp_path, minutes=60), Board(None, toy=True)
    bench.allow(3600)
    threads = torch.get_num_threads()
    try:
        for part in (parts.device, parts.images, parts.feeding, parts.ours, parts.phases):
            part(bench, board)
        parts.plain(bench, board)
        parts.others(bench, board)
    finally:
        torch.set_num_threads(threads)
    # Crops are not resident without a GPU; trainings to the end take longer.
    assert set(board.missing()) == {"resident", "memory", "accuracy_fp32", "accuracy_bf16"}
    _, head, rows = board.tables[0]
    assert "least, ms" in head
    assert [row[0] for row in rows] == ["data", "forward", "backward", "optimiser"]
