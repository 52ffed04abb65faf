"""What a report says and shows."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from mmgan.evaluation.verdict import Answer

NUMBER = re.compile("[-+\N{MINUS SIGN}]?(\\.?\\d.*|inf.*)|nan|none|[-\N{EN DASH}\N{EM DASH}]?")


@dataclass(frozen=True)
class Table:
    """Cells as they are printed; the row whose first cell is `marked` stands out, `meanings` explain headings and first cells."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""
    marked: str | None = None
    meanings: Mapping[str, str] = field(default_factory=dict)

    @property
    def numeric(self) -> list[bool]:
        """Say of each column whether all its cells are numbers or empty."""
        return [all(NUMBER.fullmatch(row[i].strip()) for row in self.rows) for i in range(len(self.columns))]


@dataclass(frozen=True)
class Picture:
    """A figure under the heading `section`; `about` says once, below that heading, what its pictures show."""

    section: str
    caption: str
    figure: Figure
    about: str = ""


@dataclass(frozen=True)
class Report:
    """All that a report says: first what `leading` holds, then tables, pictures and the tables of `appendix`.

    `data` are the numbers of report.json: dicts, lists, arrays, numbers and strings.
    """

    title: str
    verdict: list[Answer]
    findings: list[str]
    facts: dict[str, str]
    tables: list[Table]
    pictures: list[Picture]
    notes: list[str]
    data: dict[str, Any]
    leading: list[Table | Picture] = field(default_factory=list)
    appendix: list[Table] = field(default_factory=list)

    @property
    def body(self) -> list[Table | Picture]:
        """Tables and pictures in their order."""
        return [*self.leading, *self.tables, *self.pictures, *self.appendix]
