"""What tests of environments share: rows of batches, and equality of observations and infos to the bit."""

import numpy as np


def row_of(batch, row):
    """Return one row of every entry, also of dicts within, without masks and what is told of ended episodes."""
    ended = ("final_obs", "final_info")
    entries = {key: value for key, value in batch.items() if not key.startswith("_") and key not in ended}
    return {key: row_of(value, row) if isinstance(value, dict) else value[row] for key, value in entries.items()}


def equal(a, b):
    """Assert that two dicts of arrays, perhaps nested, are the same."""
    assert a.keys() == b.keys()
    for key in a:
        if isinstance(a[key], dict):
            equal(a[key], b[key])
        else:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)
