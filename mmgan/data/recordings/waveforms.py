"""Synthetic windows as files that a person can open: .wav or .csv, one a sample."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.io import wavfile

from mmgan.data.writing import whole_folder
from mmgan.errors import MmganError

INDEX = "samples.csv"


def waveforms_of(meta: Mapping[str, Any] | None, source: str) -> dict[str, dict[str, Any]]:
    """Return rate in Hz, channels and scale of each modality that is a signal as it was recorded, by what data=recordings says of it.

    Raises MmganError where there is none, which names the data's `source`.
    """
    found = {}
    for sensor, facts in (meta["sensors"] or {"": meta}).items() if meta else ():
        if "raw" in facts["features"]:
            name = (sensor if len(facts["features"]) == 1 else f"{sensor}_raw") if sensor else "raw"
            found[name] = {key: facts[key] for key in ("rate", "channels", "scale")}
    if not found:
        raise MmganError(
            f"format: {source} has no waveforms, and samples of features cannot become any; train on data=recordings data.features=[raw]."
        )
    return found


def write_waveforms(folder: Path, entries: Sequence[Mapping[str, Any]], found: Mapping[str, Any], ending: str) -> int:
    """Write each sample of the entries' `x_synth` as fold<k>/<label>/<number>.<ending>, and samples.csv, which lists them.

    The values are in the unit of the files that were read: .wav as 32-bit floats at the signal's rate, .csv with a column of times in s.
    Returns the number of files. The folder takes the place of an earlier one of ours; raises MmganError where it is another, or cannot be
    written.
    """
    if folder.exists() and not (folder / INDEX).is_file():
        raise MmganError(f"{folder} is there already, and no folder of waveforms; give another out=.")
    rates = {name: facts["rate"] for name, facts in found.items()}
    if ending == "wav" and (bad := [name for name, rate in rates.items() if rate is None or rate != round(rate)]):
        raise MmganError(
            f"format=wav: {bad[0]} has a rate of {rates[bad[0]]} Hz, and .wav takes whole numbers; give format=csv."
        )
    rows = []
    try:
        with whole_folder(folder) as beside:
            for entry in entries:
                rows += _write_entry(beside, entry, found, ending)
            pd.DataFrame(rows, columns=["file", "label", "modality", "fold"]).to_csv(beside / INDEX, index=False)
    except OSError as error:
        raise MmganError(f"{folder} cannot be written: {error.strerror or error}; give another out=.") from None
    return len(rows)


def _write_entry(folder: Path, entry: Mapping[str, Any], found: Mapping[str, Any], ending: str) -> list[list[Any]]:
    rows = []
    names = {label: _word(label, k) for k, label in enumerate(np.unique(entry["y_synth"]).tolist())}
    counts = dict.fromkeys(names, 0)
    for number, label in enumerate(np.asarray(entry["y_synth"]).tolist()):
        counts[label] += 1
        for modality, facts in found.items():
            values = np.asarray(entry["x_synth"][modality][number], float) / facts["scale"]  # (C, T)
            sensor = f"_{modality}" if len(found) > 1 else ""
            name = f"fold{entry['fold']}/{names[label]}/{counts[label]:04d}{sensor}.{ending}"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            _write(folder / name, values, facts)
            rows.append([name, label, modality, entry["fold"]])
    return rows


def _word(label: object, number: int) -> str:
    """Return a label as the name of a folder."""
    word = re.sub(r"[^\w.-]+", "_", str(label)).strip("._")
    return word if word == str(label) else f"{word or 'class'}_{number}"


def _write(path: Path, values: np.ndarray, facts: Mapping[str, Any]) -> None:
    if path.suffix == ".wav":
        wavfile.write(path, round(facts["rate"]), values.T.astype(np.float32))
        return
    table = pd.DataFrame(values.T.astype(np.float32), columns=facts["channels"])
    if facts["rate"] is not None:
        table.insert(0, "time [s]", np.arange(len(table)) / facts["rate"])
    table.to_csv(path, index=False)
