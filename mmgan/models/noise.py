"""Noise that belongs to a sample, not to a moment: the same seed, label and rank give the same numbers, whatever is drawn around them."""

import numpy as np

BLOCK_SIZE = 64  # samples that go through a network together, always this many


class BlockNoise:
    """The noise of one block of 64 samples of one class, from a counter-based generator (Philox; Salmon et al. 2011)."""

    def __init__(self, seed: int, label: int, block: int):
        self.seed, self.label, self.block = seed, label, block
        self.rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, label, block])))

    def normal(self, shape: tuple[int, ...] = ()) -> np.ndarray:
        """Draw standard normal values, float32 (64, *shape); every call draws afresh."""
        return self.rng.standard_normal((BLOCK_SIZE, *shape), dtype=np.float32)

    def uniform(self, shape: tuple[int, ...] = ()) -> np.ndarray:
        """Draw uniform values in [0, 1), float32 (64, *shape); every call draws afresh."""
        return self.rng.random((BLOCK_SIZE, *shape), dtype=np.float32)

    def permuted_indices(self, n: int) -> np.ndarray:
        """Return for each sample which of n things it takes, (64,): in the order of the samples each thing once, by chance, before any has its next turn."""
        rank = self.block * BLOCK_SIZE + np.arange(BLOCK_SIZE)
        taken = np.empty(BLOCK_SIZE, np.int64)
        for turn in np.unique(rank // n):
            order = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, self.label, int(turn), n])))
            here = rank // n == turn
            taken[here] = order.permutation(n)[rank[here] % n]
        return taken


class JoinedNoise(BlockNoise):
    """The noise of several blocks of one class, one after another, for samples that go through a network together.

    The sums of a wider batch may be rounded otherwise: not for samples that a user asks for.
    """

    def __init__(self, seed: int, label: int, blocks: range):
        self.parts = [BlockNoise(seed, label, block) for block in blocks]

    def normal(self, shape: tuple[int, ...] = ()) -> np.ndarray:
        """Draw standard normal values, float32 (64 * blocks, *shape)."""
        return np.concatenate([part.normal(shape) for part in self.parts])

    def uniform(self, shape: tuple[int, ...] = ()) -> np.ndarray:
        """Draw uniform values in [0, 1), float32 (64 * blocks, *shape)."""
        return np.concatenate([part.uniform(shape) for part in self.parts])

    def permuted_indices(self, n: int) -> np.ndarray:
        """Return for each sample which of n things it takes, as its block does."""
        return np.concatenate([part.permuted_indices(n) for part in self.parts])
