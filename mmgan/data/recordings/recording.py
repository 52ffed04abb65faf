"""One recording: channels of one length and rate, and what a file may ask of memory."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from mmgan.errors import MmganError

MOST_VALUES = 2**28  # of a recording that is read whole: 2 GiB as float64
MOST_RATE = 1e12  # Hz
RATE_NAME = re.compile(r"(?:.*_)?(?:fs|sr|rate|sampl(?:e|ing)_?(?:rate|frequency))", re.IGNORECASE)


@dataclass
class Recording:
    """Channels {name: (T,)}; `rate` in Hz where the file says it; values are (channel - offset) * scale.

    `scalars` are single numbers beside the channels (rpm, load); `note` says how the file was read where that is not obvious.
    """

    channels: dict[str, np.ndarray]
    rate: float | None = None
    scalars: dict[str, float] = field(default_factory=dict)
    scale: float = 1.0
    offset: float = 0.0
    note: str = ""

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray], note: str = "") -> "Recording":
        """Sort arrays into channels, single numbers and the rate; of a table the longer axis is time, of more axes there is none."""
        channels: dict[str, np.ndarray] = {}
        scalars: dict[str, float] = {}
        for name, array in arrays.items():
            array = np.squeeze(array)
            if array.ndim == 0 and array.dtype.kind in "fiub":
                scalars[name] = float(array)
            elif array.ndim in (1, 2) and array.size and array.dtype.kind in "fiubc":
                channels |= dict(_columns(name, array))
        rates = {
            value
            for name, value in scalars.items()
            if RATE_NAME.fullmatch(name.rpartition(".")[2]) and 0 < value < MOST_RATE
        }
        return cls(channels, rates.pop() if len(rates) == 1 else None, scalars, note=note)

    def chosen(self, wanted: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the wanted channels {wanted name: (T,)}, or all; raise MmganError where it is not clear which are meant."""
        wanted = list(wanted)
        found = {word: self.channels[_match(word, self.channels)] for word in wanted} if wanted else self.channels
        if not found:
            raise MmganError("it holds no signal; leave it out with data.files=.")
        if len({len(channel) for channel in found.values()}) > 1:
            lengths = ", ".join(f"{name} {len(channel)}" for name, channel in found.items())
            raise MmganError(f"its signals differ in length ({lengths}); choose by data.channels=[...].")
        return found


def _columns(name: str, array: np.ndarray) -> Iterable[tuple[str, np.ndarray]]:
    """Yield (name, (T,)) of a signal, or of each of several; complex values become two channels."""
    if array.ndim == 2:
        for number, column in enumerate(array.T if len(array) >= array.shape[1] else array):
            yield from _columns(f"{name}{number}", column)
    elif array.dtype.kind == "c":
        yield from ((f"{name}.real", array.real), (f"{name}.imag", array.imag))
    else:
        yield name, array


def _match(word: str, names: Iterable[str]) -> str:
    """Return the one name that is `word`, ends with it, or matches it as a regular expression."""
    names = list(names)
    listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    for fits in (lambda name: name == word, lambda name: name.endswith(word), _pattern(word).search):
        found = [name for name in names if fits(name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise MmganError(f"data.channels={word} could mean {', '.join(found)}; give more of the name.")
    raise MmganError(f"it has no channel {word} (it has {listed or 'none'}); give data.channels= what all files have.")


def _pattern(word: str) -> re.Pattern:
    try:
        return re.compile(word)
    except re.error as error:
        raise MmganError(f"data.channels={word} is no regular expression ({error}); correct it.") from None


def check_size(values: float) -> None:
    """Raise MmganError for a recording that would not fit into memory, before it is read."""
    if values > MOST_VALUES:
        raise MmganError(
            f"it holds {values:.3g} values, more than the {MOST_VALUES:.3g} that are read at once; cut it into shorter files,"
            " or save it as .npy or .wav, which are read piece by piece."
        )
