"""A folder of images, one sub-folder per class: decoded once into a file that is mapped into memory ever after."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image
from rich.progress import track

from mmgan.data.dataset import Dataset
from mmgan.data.files import cache_file
from mmgan.data.writing import replacing
from mmgan.errors import MmganError, Range, checked
from mmgan.schema import DataSchema

CANNOT_BE_KEPT = "{path}: the decoded images cannot be kept there ({reason}); give data.cache= a folder with room."
KINDS = (".png", ".jpg", ".jpeg")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")  # whatever a file is called: others start programs


@checked
def images(
    path: str | Path | None = None,
    image_size: Annotated[int, Range(8, 1024)] = 64,
    cache: str | Path | None = None,
    kept: str | Path | None = None,
) -> Dataset:
    """Return the images of path/<class>/*.png (or .jpg, .jpeg), modality `image`, uint8 values (3, image_size, image_size).

    Classes and files come in the order of their names; hidden ones and other files are passed over. Images of another size are resized, both sides to
    `image_size`. They are decoded when the folder, or `image_size`, is new, into a file of the folder `cache` (default: mmgan/images in the user's cache folder), which is
    mapped into memory; where the folder `kept` has that file, it is read there. Raises MmganError for a folder without classes or images, and for a file that is no image of 8 bits a channel.
    """
    if path is None:
        raise MmganError("data=images needs a folder with one sub-folder per class; give data.path=FOLDER.")
    folder = Path(path)
    files, y, names = _files(folder)
    target = cache_file("images", f"{_digest(files, image_size)}.npy", cache, kept)
    pixels = _decoded(files, image_size, target)
    return Dataset(
        schema=DataSchema({"image": pixels.shape[1:]}, tuple(names), tuple(names)),
        x_train={"image": pixels},
        y_train=y,
        source=str(path),
    )


def _files(folder: Path) -> tuple[list[Path], np.ndarray, list[str]]:
    """Return the image files, the class of each, int64 (n,), and the names of the classes."""
    if not folder.is_dir():
        raise MmganError(f"{folder}: there is no such folder; give data.path= a folder with one sub-folder per class.")
    try:
        found = _by_class(folder)
    except OSError as error:
        raise MmganError(f"{error.filename} cannot be read: {error.strerror}; give a readable folder.") from None
    if not found:
        raise MmganError(f"{folder} has no sub-folders; give each class one of its own, with its images in it.")
    if empty := [name for name, files in found.items() if not files]:
        raise MmganError(
            f"{folder / empty[0]} holds no image ({', '.join(KINDS)}); put the class's images there, or remove it."
        )
    y = np.repeat(np.arange(len(found)), [len(files) for files in found.values()])
    return [file for files in found.values() for file in files], y, list(found)


def _by_class(folder: Path) -> dict[str, list[Path]]:
    return {
        sub.name: sorted(
            file for file in sub.iterdir() if file.suffix.lower() in KINDS and file.name[0] != "." and file.is_file()
        )
        for sub in sorted(folder.iterdir())
        if sub.is_dir() and sub.name[0] != "."
    }


def _digest(files: Iterable[Path], image_size: int) -> str:
    """Return a digest of what decides the pixels: files, their sizes and times, and the size of the images."""
    known = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps([image_size, known]).encode()).hexdigest()[:24]


def _decoded(files: list[Path], size: int, cache: Path) -> np.ndarray:
    """Return uint8 (n, 3, size, size), mapped from `cache`, which is written first where it is missing."""
    if not _is_whole(cache, (len(files), 3, size, size)):
        # Written, not mapped: where the disk is full, a map that is written to ends the process.
        with replacing(cache, CANNOT_BE_KEPT) as target:
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(files), 3, size, size)}
            np.lib.format.write_array_header_1_0(target, header)
            for file in track(files, "decoding", transient=True):
                target.write(_pixels(file, size).tobytes())
    # Copy on write: torch takes no arrays that cannot be written, and nothing writes. As plain arrays, which any reader of a pickle knows.
    return np.asarray(np.load(cache, mmap_mode="c"))


def _is_whole(cache: Path, shape: tuple[int, ...]) -> bool:
    """Say whether the pixels of `shape` are in the cache; one that was damaged is written anew."""
    try:
        return cache.is_file() and np.load(cache, mmap_mode="r").shape == shape
    except (ValueError, EOFError, OSError):
        return False


def _pixels(file: Path, size: int) -> np.ndarray:
    """Return one image as uint8 (3, size, size)."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.mode.startswith(("I", "F")):
                raise MmganError(f"{file} has more than 8 bits a channel; save it with 8, as PNG or JPEG.")
            image = image.convert("RGB")  # a palette or grey values too; what is transparent loses that
    except MmganError:
        raise
    except Exception as error:  # a damaged image can raise anything at all
        raise MmganError(f"{file} cannot be read as an image; repair or remove it.") from error
    resized = image if image.size == (size, size) else image.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(resized).transpose(2, 0, 1)
