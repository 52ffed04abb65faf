"""What is doubtful in a recording although it can be read: clipped, constant or off zero."""

from collections.abc import Sequence

import numpy as np

FEWEST_CLIPPED = 10  # places in a recording where three samples in a row have its largest, or its smallest, value


class Faults:
    """Looks at the windows of a recording as they pass."""

    def __init__(self, channels: Sequence[str]) -> None:
        self.channels = list(channels)
        self._ends = np.full((2, len(self.channels)), -np.inf)  # the largest value, and the negative of the smallest
        self._runs = np.zeros((2, len(self.channels)), int)  # of three samples there
        self._sums = np.zeros((2, len(self.channels)))  # of the values and of their squares
        self._count = 0

    def see(self, values: np.ndarray) -> None:
        """Take windows (n, C, T) into account."""
        for end, signed in enumerate((values, -values)):
            high = signed.max((0, 2))
            at_end = signed == high[:, None]
            runs = (at_end[..., 2:] & at_end[..., 1:-1] & at_end[..., :-2]).sum((0, 2))
            known = self._ends[end]
            self._runs[end] = np.where(high >= known, runs, 0) + np.where(high <= known, self._runs[end], 0)
            self._ends[end] = np.maximum(known, high)
        self._sums += values.sum((0, 2)), (values**2).sum((0, 2))
        self._count += values.shape[0] * values.shape[2]

    def said(self) -> list[str]:
        """Return a phrase for each fault."""
        return [phrase for channel in range(len(self.channels)) for phrase in self._of(channel)] if self._count else []

    def _of(self, channel: int) -> list[str]:
        name, (high, minus_low) = self.channels[channel], self._ends[:, channel]
        if high == -minus_low:
            return [f"{name} is constant"]
        phrases = []
        for value, runs in ((high, self._runs[0, channel]), (-minus_low, self._runs[1, channel])):
            if runs >= FEWEST_CLIPPED:
                phrases.append(f"{name} is clipped at {value:.3g}")
        mean, square = self._sums[:, channel] / self._count
        deviation = np.sqrt(max(square - mean**2, 0.0))
        if abs(mean) > deviation:
            phrases.append(f"{name} has a mean of {mean:.3g} beside a deviation of {deviation:.3g}")
        return phrases
