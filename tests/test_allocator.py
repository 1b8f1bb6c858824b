"""Freed memory is kept: blocks that come and go cost no page faults."""

import subprocess
import sys

import pytest

FAULTS = """
import resource
from glimpseworld.experiments.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [bytearray(9 << 20) for _ in range(6)]
    del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
before, kept = faults(), keep_freed_memory()
faults()
print(kept, before, faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_blocks_that_come_and_go_cost_no_page_faults():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    kept, before, after = done.stdout.split()
    if kept == "False":
        pytest.skip("another malloc than glibc's")
    assert int(before) > 1_000
    assert int(after) < 100
