"""Which split an object, image or file belongs to, by its name alone."""

from __future__ import annotations

import os
import zlib
from typing import Literal, TypeAlias, get_args

Split: TypeAlias = Literal["train", "validation", "test"]

SPLITS: tuple[Split, ...] = get_args(Split)


def dealt_to(name: str) -> Split:
    """Deal a thing to train, validation or test, 8 : 1 : 1, by a hash of its name, so that adding things moves none."""
    share = zlib.crc32(os.fsencode(name)) % 10
    if share < 8:
        return "train"
    return "validation" if share == 8 else "test"
