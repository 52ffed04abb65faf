"""The tables of the docs are those that their commands make of the committed lines."""

import re
import shlex
from pathlib import Path

import pytest

from mmgan.commands.build import compose
from mmgan.commands.cells import Cell
from mmgan.commands.compare import asked_cells, chosen_measure, read_variants, tables_page
from mmgan.report.quality import read_lines

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
PAGES = [
    "docs/results.md",
    "docs/notebook.md",
    "docs/classifier.md",
    "docs/two-stages.md",
    "docs/tutorial.md",
    "docs/unlabelled.md",
]
COMMANDS = [
    (page, line)
    for page in PAGES
    for line in re.findall(
        r"^python -m mmgan (compare .*)$", (ROOT / page).read_text().replace("\\\n", ""), re.MULTILINE
    )
]
RESULTS = sorted(path.stem for path in (ROOT / "benchmarks" / "results").glob("*.jsonl") if path.stem != "cheats")
VARIANTS = sorted((ROOT / "benchmarks").glob("*.yaml"))


def asked(line: str) -> tuple:
    """Return the configuration, the measure and the cells of a command."""
    cfg = compose("compare", shlex.split(line)[1:])
    measure = chosen_measure(cfg)
    return cfg, measure, asked_cells(cfg, measure)


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_a_page_shows_the_table_of_each_command(page, line, monkeypatch):
    monkeypatch.chdir(ROOT)
    cfg, measure, cells = asked(line)
    lines = read_lines(cfg.out, cfg.measure)
    known = {
        Cell(*(each[key] for key in ("data", "draw", "rows", "model", "variant", "fold", "seed"))) for each in lines
    }
    assert set(cells) <= known  # the command is the one that made the lines
    text = tables_page(measure, lines, [cell.name for cell in cells])
    shown = [row for row in text.splitlines() if row.startswith("|")]
    page = (ROOT / page).read_text()
    assert len(shown) > 2 and not [row for row in shown if row not in page]


def test_every_line_that_is_kept_is_of_a_command():
    named = {Path(word.removeprefix("out=")).stem for _, line in COMMANDS for word in line.split() if "out=" in word}
    assert named == set(RESULTS)


def test_the_readme_shows_lines_of_the_results():
    readme = (ROOT / "README.md").read_text()
    page = "".join((ROOT / "docs" / f"{name}.md").read_text() for name in ("results", "unlabelled"))
    shown = [text for text in readme.partition("## How good is it?")[2].splitlines() if text.startswith("| ")]
    assert len(shown) > 3 and not [text for text in shown if text not in page]


def test_each_variant_is_a_configuration_of_its_own(monkeypatch):
    monkeypatch.chdir(ROOT)
    of_file = {
        Path(word.partition("=")[2]): line for _, line in COMMANDS for word in shlex.split(line) if "variants=" in word
    }
    assert sorted(ROOT / path for path in of_file) == VARIANTS
    for path, line in of_file.items():
        _, measure, cells = asked(line)
        trained = {cell.name: cell for cell in cells if cell.trained}
        assert set(trained) == set(read_variants(str(path)))
        measure.check(list(trained.values()))
        assert len({cell.settings() for cell in trained.values()}) == len(trained), path
