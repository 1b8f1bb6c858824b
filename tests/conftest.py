"""What all tests share: one cache of generated data for the whole run, small built-in worlds, one thread each."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

# Before anything asks for the cache: workers of one run share it, and a test run leaves the user's own alone.
os.environ.setdefault("GLIMPSEWORLD_CACHE", str(Path(tempfile.gettempdir()) / f"glimpseworld-tests-{os.getuid()}"))

SMALL = {"GlimpseWorld/ObjectRotation-v0": {"members_per_family": 2, "size": 24}, "GlimpseWorld/Saccade-v0": {}}


@pytest.fixture(scope="session")
def toy_images():
    """12 images of 40 x 40 whose pixels tell image, row and column: (40 * image, row, column)."""
    from glimpseworld.envs.images import ImageSet

    rows, columns = np.mgrid[:40, :40]
    pixels = np.stack([np.stack([np.full((40, 40), 20 * i), rows, columns], axis=-1) for i in range(12)])
    return ImageSet(pixels.astype(np.uint8), np.arange(12) % 3, ("a", "b", "c"))
