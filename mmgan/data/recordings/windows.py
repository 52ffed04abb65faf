"""A recording to the features of its windows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from scipy.signal import resample_poly

from mmgan.data.arrays import LARGEST, check_memory
from mmgan.data.features import FEATURES
from mmgan.data.recordings.faults import Faults
from mmgan.data.recordings.formats import read_recording
from mmgan.data.recordings.listing import Item
from mmgan.data.recordings.recording import Recording, check_size
from mmgan.errors import MmganError

MOST_WINDOWS = 10**7  # of a recording
CHUNK = 2**20  # values that are computed with at a time
NEED_RATE = {"spec", "env", "stft"}
Feature = Literal["spec", "env", "raw", "stats", "stft"]


@dataclass(frozen=True)
class Recipe:
    """How a recording becomes samples; `window` and `hop` are in samples, or in seconds as "0.2s", `rate` in Hz."""

    features: Sequence[str]
    window: int | str
    hop: int | str | None = None
    rate: float | None = None
    channels: Sequence[str] = ()
    scale: float = 1.0
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of each feature
    pad: bool = False  # recordings that are shorter than a window, with zeros


def options_of(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Return the options of each feature of a recipe, those that are not the default."""
    return {name: dict(recipe.options.get(name, {})) for name in recipe.features}


@dataclass
class Windows:
    """The features {name: (n, *shape)} of a recording's windows, and where each starts, (n,) samples at `rate`."""

    x: dict[str, np.ndarray]
    start: np.ndarray
    window: int
    length: int
    rate: float | None
    channels: list[str]
    scalars: dict[str, float]
    note: str
    faults: list[str]  # phrases: what is doubtful
    example: dict[str, np.ndarray]  # one window of each sensor, (C, window)


class Broken(MmganError):
    """A file that cannot be used, whatever the options of windows and features are."""


def windows_of(item: Item, recipe: Recipe) -> Windows:
    """Return a recording's windows; raises Broken for an unusable file, MmganError for options that do not fit it."""
    try:
        recording = read_recording(item.path, item.number)
    except MmganError as error:
        raise Broken(str(error)) from None
    try:
        channels = recording.chosen(recipe.channels)
    except MmganError as error:
        raise Broken(f"{item.path}: {error}") from None
    own = item.rate or recording.rate or recipe.rate
    rate = recipe.rate or own
    if rate is None and (asks := _asks_for_rate(item, recipe)):
        raise MmganError(f"{item.path} does not say its sampling rate, which {asks} needs; give data.rate= in Hz.")
    signal = _part(channels, item, own)
    if own != rate:
        signal = _resampled(signal, rate / own)
        recording.note = ", ".join(filter(None, [recording.note, f"resampled from {own:g} Hz"]))
    length, window = len(next(iter(signal.values()))), samples_of("window", recipe.window, rate)
    if recipe.pad and 0 < length < window:
        signal = {name: _padded(channel, window, recording.offset) for name, channel in signal.items()}
        recording.note = ", ".join(filter(None, [recording.note, "padded with zeros to a window"]))
        length = window
    start = _starts(length, window, recipe, rate)
    faults = Faults(list(channels))
    x = _features(signal, start, window, rate, recipe, recording, item, faults)
    said = (rate, list(channels), recording.scalars, recording.note, faults.said())
    example = {}
    if len(start):
        middle = _cut(signal, start[len(start) // 2 :][:1], window)[0]
        example = {"signal": ((middle - recording.offset) * (recording.scale * recipe.scale)).astype(np.float32)}
    return Windows(x, start, window, length, *said, example)


def _padded(channel: np.ndarray, length: int, zero: float) -> np.ndarray:
    return np.concatenate([channel, np.full(length - len(channel), zero)])


def _starts(length: int, window: int, recipe: Recipe, rate: float | None) -> np.ndarray:
    """Return the first sample of each window, (n,): of hops in seconds the nearest, so that sensors of any rates stay together."""
    hop = recipe.window if recipe.hop is None else recipe.hop
    samples_of("hop", hop, rate)
    exact = float(hop.strip().removesuffix("s")) * rate if isinstance(hop, str) else float(hop)
    if length / exact > MOST_WINDOWS:
        raise MmganError(
            f"a recording of {length:,} samples has {length / exact:.3g} windows; give a longer data.hop=."
        )
    start = np.rint(np.arange(0, max(length - window, -1) / exact + 1) * exact).astype(np.int64)
    return start[start <= length - window]


def samples_of(name: str, value: int | str, rate: float | None) -> int:
    """Return a length in samples; raise MmganError if it is neither a number of samples nor seconds such as 0.2s."""
    seconds = not isinstance(value, int)
    try:
        count = round(float(str(value).strip().removesuffix("s")) * (rate or 1)) if seconds else value
    except (ValueError, OverflowError):
        count = 0
    if count < 1 or (seconds and not str(value).strip().endswith("s")):
        raise MmganError(f"data.{name}={value}: expected samples, such as 4096, or seconds, such as 0.2s.")
    return count


def _asks_for_rate(item: Item, recipe: Recipe) -> str:
    if isinstance(recipe.window, str) or isinstance(recipe.hop, str):
        return "a window in seconds"
    if item.start is not None or item.stop is not None:
        return "a part from start to stop"
    return next((name for name in recipe.features if name in NEED_RATE), "")


def _part(channels: Mapping[str, np.ndarray], item: Item, rate: float | None) -> dict[str, np.ndarray]:
    if item.start is None and item.stop is None:
        return dict(channels)
    low = round((item.start or 0) * (rate or 1))
    if low >= (length := max(map(len, channels.values()))):
        raise MmganError(
            f"{item.path} is {length / (rate or 1):g} s long, and its part is to start at {item.start:g} s; correct the table."
        )
    high = None if item.stop is None else round(item.stop * rate)
    return {name: channel[low:high] for name, channel in channels.items()}


def _resampled(signal: Mapping[str, np.ndarray], ratio: float) -> dict[str, np.ndarray]:
    exact = Fraction(ratio).limit_denominator(10_000)
    if not exact:
        raise MmganError(f"data.rate= is {1 / ratio:.3g} times below the files' own; give a higher one.")
    check_size(sum(map(len, signal.values())) * max(1.0, ratio))
    return {
        name: resample_poly(np.asarray(channel, float), *exact.as_integer_ratio()) for name, channel in signal.items()
    }


def _features(
    signal: Mapping[str, np.ndarray], start: np.ndarray, window: int, rate: float | None, recipe: Recipe,
    recording: Recording, item: Item, faults: Faults,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Return {name: (n, *shape)}: the features of all channels, a few windows at a time."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in recipe.features}
    step = max(1, CHUNK // (window * len(signal)))
    for first in range(0, len(start), step):
        begins = start[first : first + step]
        values = (_cut(signal, begins, window) - recording.offset) * (recording.scale * recipe.scale)
        if len(bad := np.argwhere(~np.isfinite(values))):
            sample, channel, place = bad[0]
            when = begins[sample] + place
            raise Broken(
                f"{item.path}: channel {list(signal)[channel]} has NaN or infinite values, the first at sample {when}; repair it,"
                " or leave the file out with data.skip_broken=true."
            )
        for name in recipe.features:
            with np.errstate(over="ignore", invalid="ignore"):  # what overflows is told
                feature = FEATURES[name](values, rate or 1.0, **recipe.options.get(name, {}))
            if not (np.abs(feature) <= LARGEST).all():
                raise Broken(
                    f"{item.path}: its values, up to {np.abs(values).max():.3g}, are too large for {name}; give data.scale=, such as 1e-6,"
                    " or leave the file out with data.skip_broken=true."
                )
            found[name].append(_as_modality(name, feature))
        faults.see(values.astype(np.float64))
        if first == 0:
            check_memory(len(start), {name: parts[0].shape[1:] for name, parts in found.items()})
    return {name: np.concatenate(parts) for name, parts in found.items() if parts}


def _cut(signal: Mapping[str, np.ndarray], begins: np.ndarray, window: int) -> np.ndarray:
    """Return the windows that begin there, (n, C, window)."""
    return np.stack([np.stack([channel[k : k + window] for k in begins]) for channel in signal.values()], axis=1)


def _as_modality(name: str, feature: np.ndarray) -> np.ndarray:
    """Put the channels' bands below each other, and their statistics side by side: spectrograms and windows have channels."""
    if name in ("spec", "env"):
        return feature.reshape(len(feature), -1, feature.shape[-1])  # (n, C bands, points)
    return feature.reshape(len(feature), -1) if name == "stats" else feature
