import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from owdfa.cli.memory import keep_memory

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
