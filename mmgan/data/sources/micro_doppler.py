"""A radar that looks at a person, simulated: scattering points of a moving body, what they send back, and its spectrogram as an image.

As a folder of images, as data=images reads it: python -m mmgan.data.sources.micro_doppler FOLDER
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
from matplotlib import colormaps
from PIL import Image

from mmgan.data.dataset import Dataset
from mmgan.errors import MmganError, Range, Seed, checked
from mmgan.schema import DataSchema

WAVELENGTH = 299_792_458 / 24.0e9  # m, of a 24 GHz radar
RATE = 2560.0  # pulses a second: velocities up to +- RATE * WAVELENGTH / 4 = 8 m/s
SECONDS = 3.0
WINDOW = 128  # pulses in a Hann window
DECIBELS = 45.0  # that the colours span, from the receiver's noise on
TIME = np.arange(int(RATE * SECONDS)) / RATE  # s

# A motion returns the velocities of its points towards the radar, (points, pulses) in m/s, and their echoes' strengths (points,).
Motion = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]
TORSO, HEAD, LIMB, CLUTTER = 1.0, 0.35, 0.25, 3.0


@checked
def micro_doppler(
    n_train: Annotated[int, Range(6, 10**6)] = 600,
    n_test: Annotated[int, Range(0, 10**6)] = 300,
    image_size: Annotated[int, Range(8, 1024)] = 64,
    colour_map: str = "jet",
    draw: Seed = 0,
) -> Dataset:
    """Return spectrograms of six activities, modality `image`, uint8 values (3, image_size, image_size): velocity upwards over time.

    The n-th image of a draw depends on `draw` and n only. Movements follow Chen 2011 (The Micro-Doppler Effect in Radar, chapter 4),
    simplified to points that swing along the line of sight. Raises MmganError for an unknown colour map.
    """
    if colour_map not in colormaps:
        raise MmganError(f"data.colour_map={colour_map}: matplotlib has no such colour map; give jet or viridis, say.")
    y = np.arange(n_train + n_test) % len(MOTIONS)
    images = np.empty((len(y), 3, image_size, image_size), np.uint8)
    for number, label in enumerate(y):
        rng = np.random.default_rng([draw, number])
        signal = echo(*_ALL[label](rng), rng)
        images[number] = coloured(spectrogram(signal, image_size), colour_map)
    schema = DataSchema({"image": images.shape[1:]}, tuple(range(len(MOTIONS))), tuple(MOTIONS))
    return Dataset.divided(schema, {"image": images}, y, n_train, "micro_doppler")


def echo(velocity: np.ndarray, strength: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the complex baseband signal (pulses,) of points with velocities (points, pulses) towards the radar."""
    angle = np.exp(rng.uniform(np.log(0.6), 0))  # cosine of the angle between the movement and the line of sight
    distance = np.cumsum(velocity * angle, axis=1) / RATE
    phase = 4 * np.pi * distance / WAVELENGTH + rng.uniform(0, 2 * np.pi, (len(velocity), 1))
    # A body turns while it moves, so that the strength of each point's echo comes and goes.
    fading = 1 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.3, 1.5, (len(velocity), 1)) * TIME + phase[:, :1])
    signal = (strength[:, None] * fading * np.exp(1j * phase)).sum(0) * rng.uniform(0.6, 1.4)
    noise = rng.normal(size=(2, len(TIME))) * 0.05
    return signal + CLUTTER * rng.uniform(0.3, 1) * np.exp(2j * np.pi * rng.uniform()) + noise[0] + 1j * noise[1]


def spectrogram(signal: np.ndarray, size: int) -> np.ndarray:
    """Return the power in decibels over the receiver's noise, (size, size): velocities, the fastest approach on top, over time."""
    starts = np.linspace(0, len(signal) - WINDOW, size).astype(int)
    window = np.hanning(WINDOW)
    frames = signal[starts[:, None] + np.arange(WINDOW)]
    # What does not move, the walls, is taken out as radars do it, by the mean over time.
    frames = (frames - signal.mean()) * window
    merged = -(-WINDOW // size)  # bins of a row, where there are more than samples
    spectra = np.fft.fftshift(np.fft.fft(frames, merged * size), axes=1)
    power = (np.abs(spectra) ** 2).reshape(size, size, merged).mean(2)
    floor = 2 * 0.05**2 * (window**2).sum()
    return 10 * np.log10(power / floor + 1e-12).T[::-1]


def coloured(power: np.ndarray, colour_map: str) -> np.ndarray:
    """Return decibels (H, W) as colours, uint8 (3, H, W)."""
    shown = np.clip(power / DECIBELS, 0, 1)
    return np.round(255 * colormaps[colour_map](shown)[..., :3]).astype(np.uint8).transpose(2, 0, 1)


# -- movements ------------------------------------------------------------------------------------------------------------
def _gait(rng: np.random.Generator, speed: float, cadence: float, swing: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a body that goes at `speed` (m/s), `cadence` strides a second, its legs `swing` times as fast as itself at most."""
    direction = rng.choice([-1, 1])
    phase = 2 * np.pi * (cadence * TIME + rng.uniform())
    bob = 0.12 * speed * np.sin(2 * phase + rng.uniform(0, 2 * np.pi))
    points, strengths = [speed + bob, speed + 0.6 * bob], [TORSO, HEAD]
    for side in (0, np.pi):
        # A foot stands still for half of a stride, and overtakes the body in the other.
        forward = np.maximum(np.sin(phase + side), -0.15)
        forward = forward / forward.mean()
        for reach, strength in ((0.25, 1.0), (0.5, 0.8), (0.75, 0.7)):  # thigh, shank, foot
            points.append(speed * (1 + reach * (swing / 2.2) * (forward - 1)))
            strengths.append(LIMB * strength)
        for reach in (0.35, 0.7):  # elbow, hand: against the leg
            points.append(speed + reach * speed * swing / 2.2 * np.sin(phase + side + np.pi))
            strengths.append(LIMB * 0.6)
    return direction * np.array(points), np.array(strengths)


def _walking(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    speed = rng.uniform(0.8, 1.5)
    return _gait(rng, speed, cadence=rng.uniform(0.6, 0.75) * speed**0.5, swing=rng.uniform(1.8, 2.3))


def _running(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    speed = rng.uniform(1.8, 2.6)
    return _gait(rng, speed, cadence=rng.uniform(0.85, 1.0) * (speed / 2) ** 0.5, swing=rng.uniform(1.5, 2.0))


def _bump(start: float, seconds: float, rise: float = 0.5) -> np.ndarray:
    """Return a movement from 0 to 1 and back to 0 (pulses,), whose summit lies at the share `rise` of its time."""
    place = np.clip((TIME - start) / seconds, 0, 1)
    warped = np.where(place < rise, place / rise, 1 + (place - rise) / (1 - rise)) / 2
    return np.sin(np.pi * warped) ** 2


def _falling(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    start, seconds, top = rng.uniform(0.6, 1.6), rng.uniform(0.6, 0.9), rng.uniform(2.2, 3.6)
    course = _bump(start, seconds, rise=0.8)  # faster and faster, then the ground
    before = rng.uniform(0, 0.5) * (start > TIME)
    reach = np.array([0.55, 1.0, 0.8, 0.7, 0.3, 0.2])  # torso, head, hands, knees: by their height
    flail = 0.5 * np.sin(2 * np.pi * (rng.uniform(1.5, 3) * TIME + rng.uniform(size=(6, 1)))) * course
    loose = np.array([0, 0.1, 1, 1, 0.4, 0.4])
    points = rng.choice([-1, 1]) * (before + top * (reach[:, None] * course + 0.5 * loose[:, None] * flail))
    return points, np.array([TORSO, HEAD, LIMB, LIMB, LIMB, LIMB])


def _waving(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    frequency, top = rng.uniform(0.8, 1.6), rng.uniform(1.2, 2.4)
    course = np.sin(2 * np.pi * (frequency * TIME + rng.uniform())) + 0.15 * np.sin(4 * np.pi * frequency * TIME)
    sway = 0.05 * np.sin(2 * np.pi * rng.uniform(0.2, 0.5) * TIME)
    points = [sway, 1.2 * sway, *(top * r * course for r in (0.4, 0.75, 1.0))]
    return np.array(points), np.array([TORSO, HEAD, LIMB, LIMB, LIMB])


def _sitting_down(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    start, seconds, top = rng.uniform(0.3, 1.0), rng.uniform(1.1, 1.7), rng.uniform(0.6, 1.0)
    down = _bump(start, seconds)
    lean = _bump(start - 0.2, 0.6 * seconds) - 0.8 * _bump(start + 0.6 * seconds, 0.6 * seconds)  # forwards, and back
    side = rng.choice([-1, 1])
    points = [0.8 * down, 0.9 * down - 0.7 * lean, 0.4 * down, 0.5 * down + 0.5 * lean, 0.5 * down + 0.5 * lean]
    return -side * top * np.array(points), np.array([TORSO, HEAD, LIMB, LIMB, LIMB])


def _empty_room(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    sway = 0.02 * np.sin(2 * np.pi * (rng.uniform(0.1, 0.6) * TIME + rng.uniform()))  # a curtain
    return sway[None], np.array([rng.uniform(0.02, 0.15)])


_ALL = (_walking, _running, _falling, _waving, _sitting_down, _empty_room)
MOTIONS: dict[str, Motion] = {motion.__name__.lstrip("_"): motion for motion in _ALL}


def write_folder(dataset: Dataset, folder: Path) -> int:
    """Write the training images as folder/<class name>/<number>.png, and return how many; raises MmganError if the folder is not empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MmganError(f"{folder} is there already and not empty; give another folder.")
    for number, (image, label) in enumerate(zip(dataset.x_train["image"], dataset.y_train, strict=True)):
        target = folder / dataset.schema.class_names[label] / f"{number:05d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(target)
    return len(dataset)


def main() -> None:
    """Write a folder of images."""
    parser = argparse.ArgumentParser(prog="python -m mmgan.data.sources.micro_doppler", description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=600, help="images in all (600)")
    parser.add_argument("--image-size", type=int, default=64, help="of both sides (64)")
    parser.add_argument("--draw", type=int, default=0, help="another one gives other images (0)")
    options = parser.parse_args()
    try:
        dataset = micro_doppler(options.n, 0, options.image_size, draw=options.draw)
        print(f"{write_folder(dataset, options.folder)} images in {options.folder}")
    except MmganError as error:
        raise SystemExit(f"error: {error}") from error
    except OSError as error:
        raise SystemExit(
            f"error: {options.folder} cannot be written: {error.strerror}; give another folder."
        ) from error


if __name__ == "__main__":
    main()
