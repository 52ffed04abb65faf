"""Sums over an epoch, kept where they are computed: a look at a value in every batch would make a GPU wait for it."""

from collections.abc import Mapping

import torch
from torch import Tensor


class Tally:
    """Sums of named scalar tensors over the updates of an epoch, and for how many of these, from the first on, each was finite."""

    def __init__(self) -> None:
        self.updates = 0
        self._names: tuple[str, ...] = ()
        self._sums: Tensor | float = 0.0
        self._finite: Tensor | bool = True  # up to now
        self._lasted: Tensor | int = 0

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add the values of an update; the names are the same each time."""
        self._names, added = tuple(values), torch.stack([value.detach() for value in values.values()])
        self._sums = self._sums + added
        self._finite = added.isfinite() & self._finite
        self._lasted = self._lasted + self._finite
        self.updates += 1

    def sums(self) -> dict[str, Tensor]:
        """Return the sums by name."""
        return dict(zip(self._names, self._sums, strict=True)) if self._names else {}

    def broken(self) -> tuple[int, list[str]] | None:
        """Return after how many updates the first value was not finite, and the names of those that were not so then; None of none."""
        lasted = dict(zip(self._names, torch.as_tensor(self._lasted).tolist(), strict=True)) if self._names else {}
        first = min(lasted.values(), default=self.updates)
        return None if first == self.updates else (first, [name for name, n in lasted.items() if n == first])
