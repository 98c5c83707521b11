"""Several processes come to what one process with the whole batch comes to."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import several
from command_line import cli
from outside import KILLED
from owdfa import catalog
from owdfa.distributed import Shard, all_gather_rows, explain_worker_loss, get_shard, launched
from owdfa.errors import UserError
from owdfa.methods.base import method_type
from owdfa.runs import checkpoint
from owdfa.runs.settings import load_settings
from owdfa.stages import train as stage
from owdfa.stages.train import train
from owdfa.training.launch import run_processes
from several import together
from tiny_data import CENTRES, DRIFT, TINY

HERE = str(Path(__file__).parent)


def test_a_lost_connection_is_an_error_of_one_line():
    lost = pytest.raises(UserError, match=r"^the connection .*closed by peer.*--resume")
    with lost as error, explain_worker_loss():
        raise RuntimeError("[pair.cc:547] Connection closed by peer\nand more")
    assert "\n" not in str(error.value)


@given(size=st.integers(0, 300), num=st.integers(1, 9))
def test_shards_are_the_batch_cut_into_even_pieces(size, num):
    parts = [list(range(size))[Shard(rank, num).rows(size)] for rank in range(num)]
    assert [row for part in parts for row in part] == list(range(size))
    sizes = [len(part) for part in parts]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1


def test_one_process_is_left_alone():
    rows = torch.rand(3, 2, requires_grad=True)
    assert get_shard() == (0, 1)
    assert not launched()
    assert all_gather_rows(rows, 3) is rows


def computed(names, sizes):
    """What the processes are compared by: one start serves all cases."""
    return {
        **{name: several.method_steps(name, True) for name in names},
        "normalised": several.method_steps("supervised", False),
        "rows": [several.gathered(size) for size in sizes],
    }


METHODS = [
    name
    for name in (*catalog.names("methods"), "outside.centres", "outside.drift")
    if method_type(name).is_trained()
]
ROWS = (6, 5, 2, 1)  # of the last ones, not every process has any


@pytest.fixture(scope="module")
def parts():
    return together(computed, 3, METHODS, ROWS)


@pytest.fixture(scope="module")
def whole():
    return computed(METHODS, ROWS)


def assert_close(found, expected):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_computes_what_one_process_would(parts, whole, name):
    """Losses, terms, gradients, buffers, pruning, dropout of the objective: uneven batches."""
    for part in parts:
        assert_close(part[name], whole[name])
    if name == "cal":
        active = [int(step["active"]) for step in whole[name] if "active" in step]
        assert active[0] < 30  # pruned


def test_rows_and_gradients_are_those_of_the_whole_batch(parts, whole):
    for part in parts:
        assert_close(part["rows"], whole["rows"])


def test_on_cpus_each_process_normalises_by_its_own_rows(parts, whole):
    """Torch has no batch normalisation over processes there: results differ from one process's.

    The processes still agree on every loss and gradient, so their weights stay the same.
    """
    found, expected = [part["normalised"] for part in parts], whole["normalised"]
    differs = [
        not torch.allclose(one["total"], other["total"])
        for one, other in zip(found[0], expected, strict=True)
        if "total" in one
    ]
    assert all(differs)
    assert all(step["total"].isfinite() for step in found[0] if "total" in step)
    for part in found[1:]:
        for one, other in zip(part, found[0], strict=True):
            same = {name for name, value in one.items() if torch.equal(value, other[name])}
            assert {name for name in one if "running" not in name} <= same


@pytest.fixture
def workers_find_the_tests(monkeypatch):
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), HERE]))
    monkeypatch.setenv("PYTHONPATH", path)


def settings(*overrides):
    return load_settings(None, None, overrides)


def log_of(run):
    lines = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in lines]


@pytest.mark.slow
@pytest.mark.usefixtures("workers_find_the_tests")
def test_a_run_of_two_processes_is_that_of_one(data, tmp_path, capfd):
    """With a network without batch normalisation, to rounding; a stage and a fit at the end too."""
    common = [*CENTRES, "selection=validation", "data.batch_size=7"]
    common.append("stages=[{name='first', settings={epochs=1, optimiser={lr=0.05}}}]")
    runs = [
        train(data.split, tmp_path / f"run{num}", settings=settings(*common, f"devices={num}"))
        for num in (1, 2)
    ]
    assert [run.metadata.provenance.environment["processes"] for run in runs] == ["1", "2"]
    assert [run.metadata.complete for run in runs] == [True, True]
    for one, other in zip(log_of(runs[0]), log_of(runs[1]), strict=True):
        numbers = [key for key, value in one.items() if isinstance(value, int | float)]
        assert {key: other[key] for key in other.keys() - numbers} == {
            key: one[key] for key in one.keys() - numbers
        }
        expected = pytest.approx([one[key] for key in numbers], rel=1e-6, abs=1e-6)
        assert [other[key] for key in numbers] == expected
    weights = [checkpoint.read_weights(run.checkpoint) for run in runs]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-6, atol=1e-6, msg=name)
    said = capfd.readouterr()
    assert said.err.count("epoch 2/2") == 1  # the first process alone reports
    assert said.out == f"{tmp_path / 'run2'}: 4 classes, 2 of them known\n"


def bits(run):
    """Everything that must be the same; statistics of batch normalisation are the first's own."""
    last = run.folder / "checkpoints" / "last"
    moments = checkpoint.read_state(last)["optimizer"]["state"]
    moments = {key: {n: v.tolist() for n, v in value.items()} for key, value in moments.items()}
    return (last / "weights.safetensors").read_bytes(), moments, log_of(run)


@pytest.mark.slow
@pytest.mark.usefixtures("workers_find_the_tests")
def test_a_killed_process_ends_the_run_and_resuming_it_is_bit_identical(
    data, tmp_path, monkeypatch, capfd
):
    """With a run that torchrun started."""
    chosen = [*DRIFT, "epochs=2", "log_every=1", "data.workers=1"]
    two = settings(*chosen, "devices=2")
    monkeypatch.setenv(KILLED, "1 1")
    with pytest.raises(UserError, match=r"process 2 of 2 was killed by signal 9.*--resume"):
        train(data.split, tmp_path / "run", settings=two)
    monkeypatch.delenv(KILLED)
    assert "Traceback" not in capfd.readouterr().err
    assert checkpoint.read_note(tmp_path / "run" / "checkpoints" / "last").epochs == 1
    resumed = train(data.split, tmp_path / "run", settings=two, resume=True)

    options = [part for pair in chosen for part in ("--set", pair)]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command = ["-m", "owdfa", "train", "--split", data.split, "-o", tmp_path / "unbroken"]
    subprocess.run([*torchrun, *command, *options], check=True, capture_output=True)
    unbroken = train(data.split, tmp_path / "unbroken", resume=True)  # it is complete
    assert unbroken.metadata.provenance.environment["processes"] == "2"
    assert bits(resumed) == bits(unbroken)


FAKE = """
import os, pathlib, signal, sys, time

what, place = sys.argv[1:]
pathlib.Path(place, os.environ["RANK"]).write_text(str(os.getpid()))
second = os.environ["RANK"] == "1"
if what == "status" and second:
    sys.exit(2)
if what == "signal" and second:
    os.kill(os.getpid(), signal.SIGKILL)
if what != "end":
    time.sleep(1000)
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A command that only ends, in place of ``owdfa``; returns where it notes its pid."""
    package = tmp_path / "fake" / "owdfa"
    package.mkdir(parents=True)
    (package / "__main__.py").write_text(FAKE)
    (package / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    (tmp_path / "pids").mkdir()
    return tmp_path / "pids"


def pids_in(folder):
    return [int(path.read_text()) for path in folder.iterdir()]


def test_how_processes_end_is_said_in_one_line_and_none_is_left(fake, capfd):
    before = dict(os.environ), signal.getsignal(signal.SIGINT)
    run_processes(["end", str(fake)], 2)
    for what, line in {
        "status": "ended with status 2, see above",
        "signal": "was killed by signal 9",
    }.items():
        with pytest.raises(UserError) as error:
            run_processes([what, str(fake)], 2)
        assert str(error.value) == (
            f"process 2 of 2 {line}; run the same command with --resume to continue"
        )
        assert not any(alive(pid) for pid in pids_in(fake))
    assert (dict(os.environ), signal.getsignal(signal.SIGINT)) == before
    assert capfd.readouterr() == ("", "")


LAUNCHER = """
import os, signal, sys
from owdfa.training.launch import run_processes

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in background
os.environ["PYTHONPATH"] = sys.argv[1]
try:
    run_processes(["wait", sys.argv[2]], 2)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)])
def test_no_process_is_left_when_the_launcher_is_stopped(fake, number, status):
    program = [sys.executable, "-c", LAUNCHER, os.environ["PYTHONPATH"], fake]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    launcher = subprocess.Popen(program, env=environment, start_new_session=True)
    wait_until(
        lambda: len(list(fake.iterdir())) == 2 and all(p.stat().st_size for p in fake.iterdir())
    )
    os.kill(launcher.pid, number)
    assert launcher.wait() == status
    assert not any(alive(pid) for pid in pids_in(fake))


PARENT = """
import os, subprocess, sys, time

child = "import sys, time; from owdfa.training.launch import end_with_launcher;"
child += "end_with_launcher(); print('ready', flush=True); time.sleep(1000)"
os.environ["OWDFA_LAUNCHER"] = str(os.getpid() + int(sys.argv[1]))
made = subprocess.Popen([sys.executable, "-c", child])
print(made.pid, flush=True)
made.wait()
"""


@pytest.mark.parametrize("other", [0, 1], ids=["launcher", "not the launcher"])
def test_no_process_is_left_when_the_launcher_is_killed(other):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(other)], stdout=subprocess.PIPE, text=True
    )
    with parent:
        child = int(parent.stdout.readline())
        if not other:
            assert parent.stdout.readline() == "ready\n"
            assert alive(child)
            parent.kill()
        wait_until(lambda: not alive(child))


def test_an_interrupt_is_one_line(monkeypatch, tmp_path):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "train", interrupt)
    ended = cli("train", "--split", "s", "-o", tmp_path / "o")
    assert ended.status == 130
    assert ended.stderr.startswith("owdfa: stopped; ")
    assert ended.stderr.count("\n") == 1


def test_a_complete_run_is_said_to_be_complete(data, tmp_path):
    options = [part for pair in [*TINY, "epochs=1"] for part in ("--set", pair)]
    call = ["train", "--split", data.split, "-o", tmp_path / "run", "--resume", *options]
    ended = [cli(*call) for _ in range(2)]
    assert [each.status for each in ended] == [0, 0]
    assert ["complete already" in each.stdout for each in ended] == [False, True]


def wait_until(condition):
    while not condition():
        time.sleep(0.02)


def alive(pid):
    """Whether a process runs: one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
