"""Several processes come to what one process with the whole batch comes to."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import several
from owdfa import catalog
from owdfa.cli import main as command
from owdfa.distributed import Share, joined, own_share
from owdfa.errors import UserError
from owdfa.runs import checkpoint
from owdfa.runs.settings import load_settings
from owdfa.stages import train as stage
from owdfa.stages.train import train
from owdfa.training.launch import launch, launched
from several import alone, together
from tiny_data import TINY, make_data


@given(size=st.integers(0, 300), num=st.integers(1, 9))
def test_shares_are_the_batch_cut_into_even_pieces(size, num):
    parts = [list(range(size))[Share(rank, num).rows(size)] for rank in range(num)]
    assert [row for part in parts for row in part] == list(range(size))
    sizes = [len(part) for part in parts]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1


def test_one_process_is_left_alone():
    rows = torch.rand(3, 2, requires_grad=True)
    assert own_share() == (0, 1)
    assert not launched()
    assert joined(rows) is rows


@pytest.mark.parametrize("num", [2, 3])
@pytest.mark.parametrize("name", catalog.names("methods"))
def test_a_method_computes_the_same(name, num):
    """Losses, terms, gradients, buffers, pruning: batches of uneven and of tiny size."""
    found, expected = together(several.method_steps, num, name), alone(several.method_steps, name)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)
    if name == "cal":
        live = [int(step["live"]) for step in expected if "live" in step]
        assert live[0] < 30  # pruned


@pytest.mark.parametrize("form", ["rows", "maps", "channels last"])
@pytest.mark.parametrize(
    ("dtype", "affine", "tolerance"),
    [(torch.float64, True, 1e-10), (torch.float32, False, 2e-4), (torch.bfloat16, True, 0.1)],
)
def test_layers_see_the_whole_batch(form, dtype, affine, tolerance):
    arguments = (form, dtype, affine)
    found = together(several.layer_steps, 3, *arguments)
    for one, other in zip(found, alone(several.layer_steps, *arguments), strict=True):
        for a, b in zip(one, other, strict=True):
            assert a.dtype == b.dtype
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


# Shares of 4 and 3 images, at last of 3 and 2; an optimiser that does not blow rounding up, as
# Adam's first steps do.
SMALL = ["epochs=2", "data.batch_size=7", "data.images_per_epoch=33", "log_every=1"]
GENTLE = ["optimiser.name=sgd", "optimiser.lr=0.001", "optimiser.momentum=0"]


def settings(*overrides, method="cal"):
    return load_settings(None, None, [*TINY, *SMALL, f"method.name={method}", *overrides])


def log_of(run):
    lines = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in lines]


def assert_alike(one, other):
    """Two runs logged the same numbers, as far as float32 goes: CCR multiplies rounding by ten."""
    for a, b in zip(log_of(one), log_of(other), strict=True):
        assert a.keys() == b.keys()
        numbers = [key for key, value in a.items() if isinstance(value, int | float)]
        assert len(numbers) >= 6
        for key in numbers:
            assert b[key] == pytest.approx(a[key], rel=1e-5, abs=1e-6), (a, b)


def bits(run):
    last = run.folder / "checkpoints" / "last"
    moments = checkpoint.read_state(last)["optimizer"]["state"]
    moments = {key: {n: v.tolist() for n, v in value.items()} for key, value in moments.items()}
    return (last / "weights.safetensors").read_bytes(), moments, log_of(run)


def test_a_run_is_the_same_and_seen_from_here(data, tmp_path):
    common = ["warm_start.epochs=1", "selection=validation", *GENTLE]
    seen, runs = {}, {}
    for num in (1, 2):
        seen[num] = []
        runs[num] = train(
            data.split,
            tmp_path / f"run{num}",
            settings=settings(*common, f"devices={num}"),
            on_progress=seen[num].append,
        )
        assert runs[num].facts.environment["processes"] == str(num)
    assert [state.done for state in seen[2]] == [state.done for state in seen[1]]
    assert seen[2][0].warm_start
    assert runs[1].num_active == runs[2].num_active < 20
    assert_alike(*runs.values())
    weights = [checkpoint.read_weights(run.checkpoint) for run in runs.values()]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-4, atol=1e-5, msg=name)


def test_a_killed_process_ends_the_run_and_resuming_goes_on_to_the_bit(data, tmp_path):
    chosen = settings("devices=2", "data.workers=1", method="outside.drift")

    def kill(state):
        if state.done == 7:  # in the second epoch
            (second,) = (p for p in multiprocessing.active_children() if "2 of 2" in p.name)
            second.kill()

    with pytest.raises(UserError, match=r"process 2 of 2 was killed by signal 9.*--resume"):
        train(data.split, tmp_path / "run", settings=chosen, on_progress=kill)
    assert not multiprocessing.active_children()
    assert checkpoint.read_note(tmp_path / "run" / "checkpoints" / "last").epochs == 1
    resumed = train(data.split, tmp_path / "run", settings=chosen, resume=True)
    unbroken = train(data.split, tmp_path / "unbroken", settings=chosen)
    assert bits(resumed) == bits(unbroken)


def test_a_run_goes_on_with_another_number_of_processes(data, tmp_path):
    def stop(state):
        if state.epoch == 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(data.split, tmp_path / "run", settings=settings(*GENTLE), on_progress=stop)
    chosen = settings("devices=3", *GENTLE)
    resumed = train(data.split, tmp_path / "run", settings=chosen, resume=True)
    whole = train(data.split, tmp_path / "whole", settings=settings(*GENTLE))
    assert_alike(whole, resumed)


def test_what_the_user_can_mend_is_said_once_whoever_finds_it():
    with pytest.raises(UserError, match=r"^a disk is full$"):
        launch(several.fail, 3, print)
    with pytest.raises(RuntimeError, match="process 2 of 2 failed; its traceback stands above"):
        launch(several.break_down, 2, print)
    assert not multiprocessing.active_children()


def test_a_killed_server_is_one_line_and_no_process_is_left():
    """It only starts the processes, but without it nobody knows how they end."""
    seen = []

    def kill(pids):
        seen.extend(pids)
        os.kill(server(), signal.SIGKILL)

    with pytest.raises(UserError, match=r"server .* was killed; the same command with --resume"):
        launch(several.say_who_and_wait, 2, kill)
    while any(alive(pid) for pid in seen):
        time.sleep(0.05)
    heard = []
    launch(several.say_one, 2, heard.append)
    assert heard == [1]
    os.kill(server(), signal.SIGSTOP)  # as if it were still importing
    killer = threading.Timer(0.5, os.kill, (server(), signal.SIGKILL))
    killer.start()
    with pytest.raises(UserError, match=r"server .* was killed; the same command with --resume"):
        launch(several.say_one, 2, heard.append)
    killer.join()


def test_torchrun_starts_the_processes(data, tmp_path):
    """The same bits as from ``--devices 2``; and both stop, of which one says why."""
    trouble = ["method.name=outside.drift", "method.blow_up_at=1"]
    pairs = [*TINY, *SMALL, *trouble, "backbone.weights=none"]
    options = [part for pair in pairs for part in ("--set", pair)]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command_ = ["-m", "owdfa", "train", "--split", data.split, "-o", tmp_path / "run"]
    done = subprocess.run(
        [*torchrun, *command_, *options],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("owdfa: ")]
    assert line.startswith("owdfa: epoch 2, step 1: loss inf")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["environment"]["processes"] == "2"
    chosen = load_settings("paper", None, [*pairs, "devices=2"])
    with pytest.raises(UserError, match="epoch 2, step 1: loss inf"):
        train(data.split, tmp_path / "other", settings=chosen)
    runs = [tmp_path / name / "checkpoints" / "last" for name in ("run", "other")]
    one, other = ((run / "weights.safetensors").read_bytes() for run in runs)
    assert one == other


ORPHANS = """
import os, signal, time
from owdfa.training import launch

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in background


def wait_for_ever(tell):
    tell(os.getpid())
    time.sleep(1000)


launch._PRELOAD.clear()  # quicker: these processes need little
if __name__ == "__main__":
    launch.launch(wait_for_ever, 2, lambda pid: print(pid, flush=True))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_process_is_left_when_the_first_is_stopped(tmp_path, number):
    (tmp_path / "program.py").write_text(ORPHANS)
    program = subprocess.Popen(
        [sys.executable, tmp_path / "program.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group of its own: Ctrl-C goes to all of it
    )
    first = int(program.stdout.readline())
    processes = [child for parent in children(program.pid) for child in children(parent)]
    assert first in processes
    os.killpg(program.pid, number) if number == signal.SIGINT else program.kill()
    _, said = program.communicate(timeout=60)
    assert said.count("Traceback") == (number == signal.SIGINT)  # that of the script
    while any(alive(pid) for pid in processes):
        time.sleep(0.05)


def test_an_interrupt_is_one_line(monkeypatch, capsys, tmp_path):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "train", interrupt)
    monkeypatch.setattr(sys, "argv", ["owdfa", "train", "--split", "s", "-o", str(tmp_path / "o")])
    with pytest.raises(SystemExit) as end:
        command.main()
    assert end.value.code == 130
    assert capsys.readouterr().err == (
        "owdfa: stopped; where the command has --resume, that goes on\n"
    )


def test_a_complete_run_is_said_to_be_complete(data, tmp_path, monkeypatch, capsys):
    pairs = [*TINY, "epochs=1", "backbone.weights=none"]
    options = [part for pair in pairs for part in ("--set", pair)]
    call = ["owdfa", "train", "--split", str(data.split), "-o", str(tmp_path / "run"), "--resume"]
    said = []
    for _ in range(2):
        monkeypatch.setattr(sys, "argv", [*call, *options])
        with pytest.raises(SystemExit) as end:
            command.main()
        assert not end.value.code
        said.append("complete already" in capsys.readouterr().out)
    assert said == [False, True]


def server():
    """The process that starts the others."""
    (found,) = [
        pid
        for pid in children(os.getpid())
        if b"forkserver import main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return found


def children(pid):
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid):
    """Whether a process runs: one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
