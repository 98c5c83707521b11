import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from owdfa.cli.process import keep_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.zeros(16 << 20).add_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

fresh = faults()
keep_memory()
faults()
print(fresh, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks glibc")
def test_memory_is_used_again_without_new_pages():
    command = [sys.executable, "-c", FAULTS]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    fresh, kept = map(int, told.split())
    assert kept < fresh / 2  # as a rule 0: now and then a block comes to lie elsewhere


IDLE = """
import os, sys
sys.argv = ["owdfa", "--help"]
from owdfa.cli.main import main
assert "torch" not in sys.modules
try:
    main()
finally:
    print(os.environ["OMP_WAIT_POLICY"])
"""


@pytest.mark.parametrize(("said", "kept"), [(None, "passive"), ("active", "active")])
def test_idle_threads_sleep_unless_the_user_says_otherwise(said, kept, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if said:
        monkeypatch.setenv("OMP_WAIT_POLICY", said)
    done = subprocess.run([sys.executable, "-c", IDLE], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == kept
