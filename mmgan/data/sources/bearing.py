"""A rolling bearing, simulated: what its defects sound like, and the spectra a diagnostician takes of it."""

from typing import Annotated

import numpy as np
from scipy.fft import rfft

from mmgan.data import features
from mmgan.data.dataset import Dataset
from mmgan.errors import Range, Seed, checked
from mmgan.schema import DataSchema

RATE = 20480.0  # Hz
WINDOW = 4096  # samples, 0.2 s: bins of 5 Hz
WINDOWS = 10  # consecutive windows, hence near-duplicates, that come from one recording
CLASS_NAMES = ("healthy", *(f"{part}_{fault}" for part in ("inner", "outer", "roller")
                            for fault in ("broken", "missing", "worn")))  # fmt: skip
ROLLERS, ROLLER_MM, PITCH_MM = 13, 7.5, 38.5  # a cylindrical roller bearing, contact angle 0
RESONANCES = np.array([1850.0, 4400.0, 7700.0])  # Hz, of the housing
SHAPES = {"spec": (7, 48), "env": (5, 32)}
_CHUNK = 48  # recordings whose spectra are taken together: bounds the memory
_BIN = RATE / WINDOW
_CARRIERS = (500.0, 2400.0, 4300.0, 6200.0, 8100.0)  # Hz, lower edges of the 5 carrier bands
_CARRIER_BINS = 384  # 1920 Hz each


def fault_orders() -> dict[str, float]:
    """Return the fault frequencies over the shaft's: cage (FTF), outer (BPFO), inner (BPFI), roller (2 BSF).

    https://doi.org/10.1016/j.ymssp.2010.07.017
    """
    ratio = ROLLER_MM / PITCH_MM
    return {
        "cage": (1 - ratio) / 2,
        "outer": ROLLERS * (1 - ratio) / 2,
        "inner": ROLLERS * (1 + ratio) / 2,
        "roller": (1 - ratio**2) / ratio,  # a roller's defect strikes both races in each turn
    }


@checked
def bearing(
    n_train: Annotated[int, Range(10, 10**6)] = 860,
    n_test: Annotated[int, Range(0, 10**6)] = 1140,
    imbalance: Annotated[float, Range(1, 10**6)] = 1.0,
    draw: Seed = 0,
) -> Dataset:
    """Return windows of random recordings of 10 conditions, spec (7, 48) and env (5, 32), grouped by recording.

    `imbalance` is the ratio of the most to the least frequent class; the others lie between, geometrically.
    Each recording depends on `draw` and its own number only.
    """
    rng = np.random.Generator(np.random.Philox(key=np.array([draw, 2**63], dtype=np.uint64)))
    y = np.concatenate(
        [rng.permutation(np.repeat(np.arange(10), class_counts(n, imbalance))) for n in (n_train, n_test)]
    )
    x = {name: np.empty((len(y), *shape), np.float32) for name, shape in SHAPES.items()}
    groups = np.empty(len(y), np.int64)
    plan = _plan(y, rng)  # (recordings, WINDOWS): the sample that each window becomes, or -1
    for start in range(0, len(plan), _CHUNK):
        samples = plan[start : start + _CHUNK]
        spectra = np.concatenate([_record(y[each[0]], draw, start + number) for number, each in enumerate(samples)])
        kept = samples.ravel() >= 0
        groups[samples.ravel()[kept]] = start + np.repeat(np.arange(len(samples)), WINDOWS)[kept]
        for name, values in (("spec", band_power(spectra)), ("env", envelope_spectrum(spectra))):
            x[name][samples.ravel()[kept]] = values[kept]
    schema = DataSchema(SHAPES, tuple(range(len(CLASS_NAMES))), CLASS_NAMES)
    return Dataset.divided(schema, x, y, n_train, "bearing", groups)


def class_counts(n: int, imbalance: float) -> np.ndarray:
    """Return samples per class, (10,), of sum n, falling geometrically from the first class to the last."""
    share = imbalance ** -np.linspace(0, 1, len(CLASS_NAMES))
    exact = n * share / share.sum()
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: n - counts.sum()]] += 1
    while n >= len(counts) and (counts == 0).any():  # a class without samples would be no class
        counts[counts.argmin()] += 1
        counts[counts.argmax()] -= 1
    return counts


def _plan(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Deal the samples of each class to recordings, so that a recording's windows fall on both sides."""
    parts = []
    for label in range(len(CLASS_NAMES)):
        samples = rng.permutation(np.flatnonzero(y == label))
        parts.append(np.pad(samples, (0, -len(samples) % WINDOWS), constant_values=-1).reshape(-1, WINDOWS))
    return np.concatenate(parts)


def _record(label: int, draw: int, number: int) -> np.ndarray:
    """Record one bearing: spectra, complex64 (WINDOWS, 2049)."""
    rng = np.random.Generator(np.random.Philox(key=np.array([draw, number], dtype=np.uint64)))
    shaft = rng.uniform(14, 23)  # Hz
    load = rng.uniform(0.4, 1.0)
    severity = rng.lognormal(0.5, 0.5) * load
    time = np.arange(WINDOWS * WINDOW, dtype=np.float32) / np.float32(RATE)
    noise = rng.standard_normal((2, len(time)), dtype=np.float32)
    rolling = rng.lognormal(-2.2, 0.35) * noise[0]  # contact noise, which the housing filters
    if label:
        part, fault = CLASS_NAMES[label].split("_")
        if fault == "worn":
            rolling += severity * _wear(part, shaft, time, noise[0], rng)
        else:
            rolling += severity * _impacts(part, fault, shaft, time, rng)
    sensor = rng.lognormal(-1.0, 0.3) * noise[1]
    for order, strength in enumerate(rng.lognormal(-1.5, 0.6, 4) / np.arange(1, 5), start=1):
        sensor += np.float32(strength) * np.sin(np.float32(2 * np.pi * order * shaft) * time + rng.uniform(0, 6.3))
    both = rfft(np.stack([rolling, sensor]).reshape(2, WINDOWS, WINDOW).astype(np.float32))
    return (both[0] * _housing(rng) + both[1]).astype(np.complex64)


def _housing(rng: np.random.Generator) -> np.ndarray:
    """Return the acceleration response of three damped resonances, (2049,), which vary by recording."""
    frequency = np.arange(WINDOW // 2 + 1) * _BIN
    resonance = RESONANCES * rng.normal(1, 0.015, 3)
    damping = rng.uniform(0.02, 0.05, 3)
    gain = rng.lognormal(0, 0.3, 3) * damping * 8
    ratio = frequency[:, None] / resonance
    return (gain * ratio**2 / (1 - ratio**2 + 2j * damping * ratio)).sum(1)


def _load_zone(part: str, shaft: float, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the load on the defect, Stribeck's distribution: an outer ring's stays put, the others turn."""
    orders = {"outer": 0.0, "inner": 1.0, "roller": fault_orders()["cage"]}
    start = rng.uniform(-0.8, 0.8) if part == "outer" else rng.uniform(0, 2 * np.pi)
    angle = 2 * np.pi * orders[part] * shaft * time + start
    return np.clip(1 - (1 - np.cos(angle)) / 1.6, 0.05, None) ** (10 / 9)  # load factor 0.8, line contact


def _impacts(part: str, fault: str, shaft: float, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Strike once a passage (broken), or at the entry to and exit from a gap (missing), with random slip."""
    frequency = fault_orders()[part] * shaft
    slip = rng.uniform(0.005, 0.02)
    count = int(time[-1] * frequency * 1.2) + 2
    at = np.cumsum(rng.normal(1, slip, count)) / frequency - rng.uniform(0, 1) / frequency
    strength = _load_zone(part, shaft, at, rng) * rng.lognormal(0, 0.2, count)
    if fault == "missing":
        gap = rng.uniform(0.05, 0.2) / frequency
        at, strength = np.concatenate([at, at + gap]), np.concatenate([-0.6 * strength, strength])
    inside = (at >= 0) & (at < time[-1])
    place = at[inside] * RATE
    before = place.astype(int)
    train = np.zeros(len(time) + 1, np.float32)
    np.add.at(train, before, strength[inside] * (before + 1 - place))  # an impact between two samples reaches both
    np.add.at(train, before + 1, strength[inside] * (place - before))
    return 12 * train[:-1]


def _wear(part: str, shaft: float, time: np.ndarray, noise: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Roughen the contact: noise whose strength follows the passages and the load, without impacts."""
    frequency = fault_orders()[part] * shaft * rng.normal(1, 0.01)
    depth = rng.uniform(0.4, 0.9)
    phase = np.float32(2 * np.pi * frequency) * time + np.float32(rng.uniform(0, 2 * np.pi))
    return 0.4 * noise * (1 + np.float32(depth) * np.cos(phase)) * _load_zone(part, shaft, time, rng)


def band_power(spectra: np.ndarray) -> np.ndarray:
    """Return the log1p power of 7 equal bands of spectra (n, 2049), at 48 points each: (n, 7, 48)."""
    return features.band_power(spectra, WINDOW, *SHAPES["spec"], gain=50)


def envelope_spectrum(spectra: np.ndarray) -> np.ndarray:
    """Return the log1p squared-envelope spectrum, 5, 10, ..., 200 Hz, of 5 carrier bands, at 32 points: (n, 5, 32)."""
    starts = (np.array(_CARRIERS) / _BIN).astype(int)
    return features.envelope_spectrum(
        spectra, WINDOW, starts, _CARRIER_BINS, lines=40, points=SHAPES["env"][1], gain=1e3
    )
