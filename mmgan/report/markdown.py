"""A report as markdown."""

import re
from typing import Any

from mmgan.report.content import Report, Table


def written(report: Report, sections: dict[str, dict[str, Any]]) -> str:
    """Return the report; `sections` are, by heading, an `about` and the `caption` and `path` of all pictures `shown`."""
    parts = [
        f"# {_text(report.title)}",
        "\n\n".join(
            f"**{_text(word.question)}: {_text(word.answer)}** ({_text(word.reason)})" for word in report.verdict
        ),
        _items("Findings", report.findings),
        *(table_text(table) for table in report.tables),
        *(_section(heading, section) for heading, section in sections.items()),
        *(table_text(table) for table in report.appendix),
        _items("Facts", [f"{key}: {value}" for key, value in report.facts.items()]),
        _items("Notes", report.notes),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _text(text: str) -> str:
    """Return `text` on one line, without a meaning in markdown, or HTML, or as the end of a table's cell."""
    return re.sub(r"[\\`*|<]|\](?=\()", r"\\\g<0>", " ".join(text.split()))


def _items(heading: str, texts: list[str]) -> str:
    return "\n".join([f"## {heading}", "", *(f"- {_text(text)}" for text in texts)]) if texts else ""


def table_text(table: Table) -> str:
    lines = [[_text(cell) for cell in table.columns], ["---:" if number else "---" for number in table.numeric]]
    for first, *others in table.rows:
        lines.append([f"**{_text(first)}**" if first == table.marked else _text(first), *map(_text, others)])
    rows = [f"| {' | '.join(line)} |" for line in lines]
    note = ["", _text(table.note)] if table.note else []
    return "\n".join([f"## {_text(table.title)}", "", *rows, *note])


def _section(heading: str, section: dict[str, Any]) -> str:
    pictures = []
    for shown in section["shown"]:
        caption = _text(shown["caption"])
        alternative = re.sub(r"[\[\]]", "", f"{heading}: {caption}")
        pictures += [caption, f"![{alternative}]({shown['path']})"]
    return "\n\n".join(part for part in [f"## {_text(heading)}", _text(section["about"]), *pictures] if part)
