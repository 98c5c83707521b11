"""E. One run folder has one writer."""

import subprocess
import sys
import time

from command_line import done, refused
from owdfa.runs.lock import writing

HOLD = """
import sys, time
from pathlib import Path
from owdfa.runs.lock import writing
with writing(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def hold(folder):
    """A process that writes to ``folder`` until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def stop(process):
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_folder_that_another_process_writes_to_is_refused(data, settings, photos, tmp_path):
    output = tmp_path / "run"
    process = hold(output)
    try:
        for resume in ([], ["--resume"]):
            line = refused("train", "--split", data.split, "-o", output, *settings, *resume)
            assert "another process is writing to it" in line
            line = refused("run", f"folder:{photos}", "-o", output, *resume)
            assert "another process is writing to it" in line
        assert list(output.iterdir()) == []
    finally:
        stop(process)
    done("train", "--split", data.split, "-o", output, *settings)  # a killed one leaves no lock


def test_the_same_process_may_lock_a_folder_again(tmp_path):
    with writing(tmp_path / "run"), writing(tmp_path / "run"):
        time.sleep(0)
    with writing(tmp_path / "run"):
        pass
