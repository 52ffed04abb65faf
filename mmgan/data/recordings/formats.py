"""The formats of recordings, a reader for each, by the ending of a file's name."""

import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.io import wavfile
from scipy.io.matlab import MatReadError

from mmgan.data.recordings.matlab import read_hdf5, read_mat
from mmgan.data.recordings.recording import Recording, check_size
from mmgan.data.recordings.series import read_ts
from mmgan.data.recordings.text import check_text_size, names_of, read_text, recording_of_table
from mmgan.errors import MmganError, require

BROKEN = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    NotImplementedError,
    MemoryError,
)
BROKEN += (
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    UnicodeError,
    pd.errors.ParserError,
    AttributeError,
    ArithmeticError,
    MatReadError,
)
MOST_CELLS = 2**25  # of a spreadsheet's sheet, empty ones between and beside others included
LARGE = 2**26  # bytes of a file that stays on the disk: one that is cut meanwhile would end the process
MOST_XML = 2**30  # bytes of a spreadsheet, unpacked
WHOLE = {"i": lambda dtype: 1 / 2 ** (8 * dtype.itemsize - 1), "u": lambda dtype: 1 / 128, "f": lambda dtype: 1.0}


def read_wav(path: Path) -> Recording:
    """Read a .wav file; integers are scaled to [-1, 1), and 8, 16, 32 and 64 bits stay on the disk until they are used."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks without samples
        try:
            rate, samples = wavfile.read(path, mmap=path.stat().st_size > LARGE)
        except ValueError as error:
            if "mmap" not in str(error):  # 24 bits cannot be mapped
                raise
            check_size(path.stat().st_size / 3)
            rate, samples = wavfile.read(path)
    samples = samples[:, None] if samples.ndim == 1 else samples  # (T, channels)
    offset = 128.0 if samples.dtype.kind == "u" else 0.0
    channels = {f"ch{number}": samples[:, number] for number in range(samples.shape[1])}
    return Recording(channels, float(rate), scale=WHOLE[samples.dtype.kind](samples.dtype), offset=offset)


def read_flac(path: Path) -> Recording:
    """Read a .flac file; integers are scaled to [-1, 1)."""
    require("soundfile", f"{path}: .flac", extra="recordings")
    import soundfile

    try:
        facts = soundfile.info(path)
        check_size(facts.frames * facts.channels)
        samples, rate = soundfile.read(path, always_2d=True)  # (T, channels)
    except soundfile.LibsndfileError as error:
        raise ValueError(error.error_string) from error
    return Recording({f"ch{number}": column for number, column in enumerate(samples.T)}, float(rate))


def read_npy(path: Path) -> Recording:
    """Read a .npy file of one signal, or of a table of them; the values stay on the disk until they are used."""
    signal = np.lib.format.open_memmap(path, mode="r")  # never of objects
    return Recording.of_arrays({"ch": np.array(signal) if path.stat().st_size <= LARGE else signal})


def read_npz(path: Path) -> Recording:
    """Read a .npz file of signals and single numbers; what is no array of numbers is passed over."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as stream:
                major, _ = np.lib.format.read_magic(stream)
                header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
                check_size(np.prod(header(stream)[0], dtype=float))
            check_size(member.file_size / 8)
    with np.load(path, allow_pickle=False) as members:
        return Recording.of_arrays({name: members[name] for name in members.files if _is_numbers(members, name)})


def _is_numbers(members: np.lib.npyio.NpzFile, name: str) -> bool:
    try:
        return members[name].dtype.kind in "fiubc"
    except ValueError:  # objects, which are never unpickled
        return False


def read_excel(path: Path) -> Recording:
    """Read the first sheet of an .xlsx file that is not hidden."""
    require("openpyxl", f"{path}: .xlsx", extra="recordings")
    with zipfile.ZipFile(path) as archive:
        if (unpacked := sum(member.file_size for member in archive.infolist())) > MOST_XML:
            raise MmganError(f"it is {unpacked:.3g} bytes when unpacked; save its sheet as .csv.")
    from openpyxl import load_workbook

    book = load_workbook(path, read_only=True, data_only=True, keep_links=False)
    try:
        sheets = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
        if not sheets:
            raise MmganError("it has no sheet that is shown; put one column a channel into its first sheet.")
        table = _cells(sheets[0])
    finally:
        book.close()
    note = f"sheet {sheets[0].title!r} of {len(sheets)}" if len(sheets) > 1 else ""
    first = next((row for row in range(len(table)) if _all_numbers(table.iloc[row])), None)
    if first is None:
        raise MmganError("its first sheet has no row of numbers; put one column a channel there.")
    above = [["" if pd.isna(cell) else str(cell).strip() for cell in table.iloc[row]] for row in range(first)]
    data = table.iloc[first:].infer_objects().set_axis(names_of(above, table.shape[1]), axis=1)
    return recording_of_table(data, first + 1, note)


def _cells(sheet: Any) -> pd.DataFrame:
    """Return the values of a sheet as objects, None where there is none; raises MmganError before they fill the memory."""
    from openpyxl.cell.cell import ERROR_CODES

    sheet.reset_dimensions()  # what the file says of its size may be wrong
    rows, width = [], 0
    for row in sheet.iter_rows(values_only=True):
        rows.append([None if cell in ERROR_CODES else cell for cell in row])
        width = max(width, len(row))
        if len(rows) * width > MOST_CELLS:
            raise MmganError(
                f"its first sheet reaches over {len(rows):,} x {width:,} cells; save what is in it as .csv."
            )
    return pd.DataFrame([row + [None] * (width - len(row)) for row in rows], dtype=object)


def _all_numbers(row: pd.Series) -> bool:
    return row.notna().any() and pd.to_numeric(row.dropna(), errors="coerce").notna().all()


def read_parquet(path: Path) -> Recording:
    """Read a .parquet file, a column a channel."""
    require("pyarrow", f"{path}: .parquet", extra="recordings")
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        check_size(file.metadata.num_rows * file.metadata.num_columns)
        return recording_of_table(file.read().to_pandas(), 1)


READERS: dict[str, Callable[[Path], Recording]] = {
    ".mat": read_mat,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
    ".csv": read_text,
    ".txt": read_text,
    ".tsv": read_text,
    ".xlsx": read_excel,
    ".wav": read_wav,
    ".npy": read_npy,
    ".npz": read_npz,
    ".parquet": read_parquet,
    ".flac": read_flac,
    ".ts": read_ts,
}


def check_file_size(path: Path) -> None:
    """Raise MmganError, which begins with the file, for more text than can be read at once."""
    try:
        if READERS[path.suffix.lower()] in (read_text, read_ts):
            check_text_size(path)
    except MmganError as error:
        raise MmganError(f"{path}: {error}") from None


def read_recording(path: Path, number: int | None = None) -> Recording:
    """Read one file by the ending of its name, or one series of a .ts; raises MmganError, which begins with the file, if it cannot."""
    try:
        return READERS[path.suffix.lower()](path) if number is None else read_ts(path, number)
    except MmganError as error:
        said = str(error)
        raise MmganError(said if said.startswith(str(path)) else f"{path}: {said}") from None
    except BROKEN as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise MmganError(
            f"{path} cannot be read as {path.suffix.lower()} ({reason}); repair it, or leave it out with data.skip_broken=true."
        ) from None
