"""A report's files: the page, the figures, and the same as markdown and as numbers."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mmgan.errors import MmganError
from mmgan.report import markdown, svg
from mmgan.report.content import Report

JINJA = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_report(report: Report, folder: Path, name: str = "report") -> None:
    """Write `name`.html, .md, .json and figures/*.svg into `folder`, in place of an earlier report's.

    Nothing is touched unless all of them could be written. Raises MmganError where `folder` takes no files.
    """
    files = _files(report, name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".report-", dir=folder) as beside:
            for file, text in files.items():
                path = Path(beside) / file
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
            (folder / "figures").mkdir(exist_ok=True)
            for file in files:
                (Path(beside) / file).replace(folder / file)
    except OSError as error:
        raise MmganError(
            f"{folder}: the report cannot be written there ({error.strerror}); give another folder."
        ) from error
    for path in folder.glob("figures/[0-9][0-9]-*.svg"):  # of an earlier report
        if f"figures/{path.name}" not in files:
            path.unlink(missing_ok=True)


def _files(report: Report, name: str) -> dict[str, str]:
    """Return the text of every file by its path in the report's folder."""
    files, sections = {}, {}
    for number, picture in enumerate(report.pictures, start=1):
        label, root = f"{picture.section}: {picture.caption}", svg.drawn(picture.figure)
        path = f"figures/{number:02d}-{_slug(label)}.svg"
        files[path] = svg.standalone(root, label)
        section = sections.setdefault(picture.section, {"about": picture.about, "shown": []})
        shown = {"caption": picture.caption, "path": path, "svg": svg.inline(root, f"f{number}-", label)}
        section["shown"].append(shown)
    files[f"{name}.json"] = json.dumps(_plain(report.data), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    files[f"{name}.md"] = markdown.written(report, sections)
    files[f"{name}.html"] = JINJA.get_template("report.html").render(report=report, sections=sections)
    return files


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].rstrip("-") or "other"


def _plain(value: Any) -> Any:
    """Return containers of what JSON knows; NaN and infinities, which it does not, become None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
