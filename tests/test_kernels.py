"""Compiled kernels: imported only when needed, and compiled even where their machine code cannot be kept."""

import subprocess
import sys

import numba
import numpy as np
import pytest

from glimpseworld.envs.eye.foveae_kernels import prefetch
from glimpseworld.envs.kernels import kernel


def first(numbers):
    return numbers[0]


def test_environments_are_imported_without_numba():
    code = "import sys, glimpseworld.envs, glimpseworld.envs.saccade, glimpseworld.envs.object_rotation; "
    code += "sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_without_a_folder_for_machine_code_a_kernel_is_compiled_and_says_so(monkeypatch):
    real = numba.njit

    def njit(*signature, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function 'first': no locator available for file")
        return real(*signature, **options)

    monkeypatch.setattr(numba, "njit", njit)
    with pytest.warns(UserWarning, match="set NUMBA_CACHE_DIR"):
        compiled = kernel("int64(int64[::1])")(first)
    assert compiled(np.array([7, 8])) == 7
    assert len(compiled.signatures) == 1


def test_other_types_are_refused_rather_than_compiled():
    compiled = kernel("int64(int64[::1])")(first)
    with pytest.raises(TypeError, match="No matching definition"):
        compiled(np.array([7.0]))


def test_prefetching_changes_nothing_even_outside():
    @numba.njit
    def ask(numbers, at):
        prefetch(numbers, at)
        return numbers[0]

    for at in (0, 2, -(10**9), 10**12):
        assert ask(np.array([5, 6, 7], np.uint32), at) == 5
