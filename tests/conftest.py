"""What all tests share: a cache of generated data, one thread each, and toy images."""

import os
import tempfile
from pathlib import Path

# Before anything is imported: workers of one run share a cache that is not the user's own, and one core each, since
# waiting OpenMP threads spin and two workers with two threads each slow each other down many times.
os.environ.setdefault("GLIMPSEWORLD_CACHE", str(Path(tempfile.gettempdir()) / f"glimpseworld-tests-{os.getuid()}"))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest


@pytest.fixture(scope="session")
def toy_images():
    """12 images of 40 x 40 whose pixels tell image, row and column: (40 * image, row, column)."""
    from glimpseworld.envs.imagery.image_set import ImageSet

    rows, columns = np.mgrid[:40, :40]
    pixels = np.stack([np.stack([np.full((40, 40), 20 * i), rows, columns], axis=-1) for i in range(12)])
    return ImageSet(pixels.astype(np.uint8), np.arange(12) % 3, ("a", "b", "c"))


@pytest.fixture
def one_thread():
    """Sums over more threads may come in another order, and two workers share the machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
