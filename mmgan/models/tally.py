"""Sums over an epoch, kept where they are computed: a look at a value in every batch would make a GPU wait for it."""

from collections.abc import Mapping

import torch
from torch import Tensor

AT_ONCE = 256  # updates that are added up together: to do so in each would cost a hundredth of a step


class Tally:
    """Sums of named scalar tensors over the updates of an epoch, and for how many of these, from the first on, each was finite."""

    def __init__(self) -> None:
        self.updates = 0
        self._names: tuple[str, ...] = ()
        self._waiting: list[Tensor] = []  # values of the last updates
        self._sums: Tensor | float = 0.0
        self._finite: Tensor | bool = True  # up to now
        self._lasted: Tensor | int = 0

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add the values of an update; the names are the same each time."""
        self._names = tuple(values)
        self._waiting.append(torch.stack([value.detach() for value in values.values()]))  # as they are now: a copy
        self.updates += 1
        if self.updates % AT_ONCE == 0:
            self._add_up()

    def sums(self) -> dict[str, Tensor]:
        """Return the sums by name."""
        self._add_up()
        return dict(zip(self._names, self._sums, strict=True)) if self._names else {}

    def broken(self) -> tuple[int, list[str]] | None:
        """Return after how many updates the first value was not finite, and the names of those that were not so then; None of none."""
        self._add_up()
        lasted = dict(zip(self._names, torch.as_tensor(self._lasted).tolist(), strict=True)) if self._names else {}
        first = min(lasted.values(), default=self.updates)
        return None if first == self.updates else (first, [name for name, n in lasted.items() if n == first])

    def _add_up(self) -> None:
        if self._waiting:
            added = torch.stack(self._waiting)  # (updates, names)
            finite = (added.isfinite() & self._finite).cumprod(0)
            self._sums, self._finite = self._sums + added.sum(0), finite[-1].bool()
            self._lasted = self._lasted + finite.sum(0)
            self._waiting = []
