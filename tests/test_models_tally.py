"""Sums over an epoch, against the same sums by numpy."""

import numpy as np
import pytest
import torch

from mmgan.models.tally import AT_ONCE, Tally


def tally_of(values, asked=()):
    """Return the tally of rows (updates, 3) of values a, b and c, which lie in the same memory each time; its sums are `asked` for in between."""
    tally, memory = Tally(), torch.empty(3)
    for update, row in enumerate(values):
        memory.copy_(torch.from_numpy(row))
        tally.add(dict(zip("abc", memory, strict=True)))
        if update in asked:
            tally.sums()
    return tally


@pytest.mark.parametrize("updates", [1, 7, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE + 5])
def test_sums_and_the_first_values_that_are_not_finite(updates):
    rng = np.random.default_rng(updates)
    values = rng.normal(size=(updates, 3)).astype(np.float32)
    sound = tally_of(values, asked={updates // 2})
    assert (sound.updates, sound.broken()) == (updates, None)
    np.testing.assert_allclose(list(sound.sums().values()), values.sum(0, dtype=np.float64), rtol=1e-3, atol=1e-3)
    first, later = sorted(rng.integers(updates, size=2).tolist())
    values[first, 1], values[later, 2] = np.nan, np.inf
    assert tally_of(values).broken() == (first, ["b", "c"] if first == later else ["b"])


def test_nothing_was_added():
    assert Tally().broken() is None and Tally().sums() == {}
