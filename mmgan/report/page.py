"""A report's files: the page, the figures, and the same as markdown and as numbers."""

import base64
import json
import re
import warnings
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.figure import Figure

from mmgan.data.writing import folder_beside
from mmgan.errors import MmganError
from mmgan.report.content import Report, Table

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # which XML has no way to write


def _plain_markdown(text: object) -> str:
    """Return `text` on one line, without a meaning in markdown, or HTML, or as the end of a table's cell."""
    return re.sub(r"[\\`*|<]|\](?=\()", r"\\\g<0>", " ".join(str(text).split()))


def _breakable(text: object) -> Markup:
    """Return `text` for HTML, with places where a long dotted name may go on in the next line."""
    return Markup(re.sub(r"(?<=\w)([._])(?=\w)", r"\1<wbr>", str(escape(text))))


JINJA = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=lambda name: name.startswith("report.html"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
JINJA.filters["plain"] = _plain_markdown
JINJA.filters["breakable"] = _breakable


def table_text(table: Table) -> str:
    """Return a table as markdown."""
    return JINJA.get_template("table.md.jinja").module.shown(table).strip()


def write_report(report: Report, folder: Path, name: str = "report") -> None:
    """Write `name`.html, .md, .json and figures/*.svg into `folder`, in place of an earlier report's.

    Nothing is touched unless all of them could be written. Raises MmganError where `folder` takes no files.
    """
    files = _files(report, name)
    try:
        with folder_beside(folder / name) as beside:
            for file, text in files.items():
                path = beside / file
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
            (folder / "figures").mkdir(exist_ok=True)
            for file in files:
                (beside / file).replace(folder / file)
    except OSError as error:
        raise MmganError(
            f"{folder}: the report cannot be written there ({error.strerror}); give another folder."
        ) from error
    for path in folder.glob("figures/[0-9][0-9]-*.svg"):  # of an earlier report
        if f"figures/{path.name}" not in files:
            path.unlink(missing_ok=True)


def page(report: Report) -> str:
    """Return the report as one HTML page, with its figures in it."""
    return _files(report, "report")["report.html"]


def _files(report: Report, name: str) -> dict[str, str]:
    """Return the text of every file by its path in the report's folder."""
    files, sections, number = {}, [], 0
    for block in report.body:
        if isinstance(block, Table):
            sections.append({"title": block.title, "table": block})
            continue
        number += 1
        label, drawn = f"{block.section}: {block.caption}", _svg(block.figure)
        path = f"figures/{number:02d}-{_slug(label)}.svg"
        files[path] = drawn
        if not sections or sections[-1]["title"] != block.section:
            sections.append({"title": block.section, "table": None, "about": block.about, "shown": []})
        address = f"data:image/svg+xml;base64,{base64.b64encode(drawn.encode()).decode()}"
        sections[-1]["shown"].append({"caption": block.caption, "path": path, "address": address})
    files[f"{name}.json"] = json.dumps(_plain(report.data), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    for template, suffix in (("report.md.jinja", "md"), ("report.html.jinja", "html")):
        text = JINJA.get_template(template).render(report=report, sections=sections)
        files[f"{name}.{suffix}"] = re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
    return files


def _svg(figure: Figure) -> str:
    """Return the figure as an SVG file: on white, since whoever shows it may do so on any background, and text as text."""
    stream = StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "mmgan"}), warnings.catch_warnings():
        # The reader's own fonts show the text, and may well have what matplotlib's lack.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(stream, format="svg", facecolor="white", metadata={"Date": None})
    return CONTROL.sub("", stream.getvalue())


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
