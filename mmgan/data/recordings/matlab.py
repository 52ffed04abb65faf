"""MATLAB's files: version 5 by scipy, version 7.3, which is HDF5, by h5py."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat, whosmat

from mmgan.data.recordings.recording import Recording, check_size
from mmgan.errors import MmganError, require

NUMBERS = {"double", "single", "logical"} | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
HDF5 = b"\x89HDF\r\n\x1a\n"
MOST_STRUCT = 2**24  # bytes of a file whose structs are read; those within cannot be measured before


def read_mat(path: Path) -> Recording:
    """Read the numeric arrays of a .mat file; where it has no signal among them, those in its structs, by dotted names."""
    with open(path, "rb") as stream:
        head = stream.read(520)
    if HDF5 in (head[:8], head[512:520]):
        return read_hdf5(path)
    variables = whosmat(path)
    plain = {name: shape for name, shape, kind in variables if kind in NUMBERS}
    check_size(sum(math.prod(shape) for shape in plain.values()))
    signals = [name for name, shape in plain.items() if math.prod(shape) > 1]
    structs = [name for name, shape, kind in variables if kind == "struct" and math.prod(shape) == 1]
    if signals or not structs:
        return Recording.of_arrays(loadmat(path, variable_names=list(plain)) if plain else {})
    if (size := path.stat().st_size) > MOST_STRUCT:
        raise MmganError(f"it keeps its signals in a struct of {size:.3g} bytes; save them as plain arrays.")
    content = loadmat(path, variable_names=[*plain, *structs], simplify_cells=True)
    return Recording.of_arrays(dict(_leaves({name: content[name] for name in [*plain, *structs]})))


def _leaves(node: Mapping[str, Any], trail: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{trail}{key}.")
        elif isinstance(value, np.ndarray | int | float) and np.asarray(value).dtype.kind in "fiubc":
            yield f"{trail}{key}", np.asarray(value)


def read_hdf5(path: Path) -> Recording:
    """Read the numeric arrays of an HDF5 file, MATLAB's v7.3 among them; groups become dotted names."""
    require("h5py", f"{path}: HDF5, as which MATLAB saves with -v7.3,", extra="recordings")
    import h5py

    arrays: dict[str, np.ndarray] = {}

    def keep(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and node.dtype.kind in "fiub" and not name.startswith("#"):
            check_size(node.size + sum(array.size for array in arrays.values()))
            arrays[name.replace("/", ".")] = node[()]

    with h5py.File(path, "r") as file:
        file.visititems(keep)
    return Recording.of_arrays(arrays)
