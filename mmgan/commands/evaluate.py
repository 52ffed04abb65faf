"""The job of evaluate.py: a file of synthetic samples, judged beside real samples and the baselines, and its report."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as ConsoleTable

from mmgan.commands.arguments import tell
from mmgan.data import synthetic_file
from mmgan.data.trust import build, trusted_names
from mmgan.data.writing import check_writable
from mmgan.errors import MmganError, printable
from mmgan.evaluation.files import SyntheticFile, judged_file
from mmgan.evaluation.verdict import Verdict
from mmgan.report.content import Table
from mmgan.report.judgement import Options, judge
from mmgan.report.page import write_report
from mmgan.report.quality import data_of, read_lines


def judge_file(cfg: DictConfig) -> Path:
    """Judge the file that `cfg.synthetic` names, write the report, and return its folder; raises MmganError for bad input."""
    if OmegaConf.is_missing(cfg, "synthetic") or cfg.synthetic is None:
        raise MmganError("give synthetic=FILE: a file that synthesize.py wrote, or a dict with x_synth and y_synth.")
    file = read_judged(cfg)
    folder = Path(cfg.out_dir) if cfg.out_dir else file.path.with_name(f"{file.path.stem}-report")
    curve = _curve_lines(cfg.curve, file.data_name) if cfg.curve else []
    check_writable(folder / "report.html")
    options = Options(cfg.draws, cfg.seed, cfg.quick, cfg.workers)
    found = judge(file, options, curve)
    write_report(found.report, folder)
    if file.learnt:
        tell(file.learnt)
    _print(found.verdict, found.short, folder)
    return folder


def read_judged(cfg: DictConfig) -> SyntheticFile:
    """Return the file that `cfg.synthetic` names with its real samples: those that `cfg.data` names, or the file itself."""
    content = synthetic_file.read(str(cfg.synthetic))
    if cfg.data is None:
        dataset, options = synthetic_file.named_data(content, trusted_names(cfg.trust))
    else:
        options = OmegaConf.to_container(cfg.data, resolve=True)
        dataset = build(options["source"])
    return judged_file(content, dataset, options, cfg.fold)


def _curve_lines(path: str, data_name: str) -> list[dict[str, Any]]:
    lines = [line for line in read_lines(path, "utility") if data_of(line) == data_name]
    if not lines:
        raise MmganError(f"{path} has no lines of {data_name}; give a result of the data that the file was made from.")
    return lines


def _print(found: Verdict, table: Table, folder: Path) -> None:
    console = Console()
    shown = ConsoleTable(title=_as_it_is(table.title), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in table.columns:
        shown.add_column(_as_it_is(column), justify="right" if column else "left", no_wrap=True)
    for row in table.rows:
        shown.add_row(*map(_as_it_is, row), style="bold" if row[0] == table.marked else None)
    console.print(shown)
    for line in found.answers:
        console.print(f"[bold]{line.question}: {_as_it_is(line.answer)}[/]  {_as_it_is(line.reason)}", highlight=False)
    for sentence in found.findings:
        console.print(f"- {printable(sentence)}", highlight=False, markup=False)
    tell(f"report: {folder / 'report.html'}")


def _as_it_is(text: str) -> str:
    """Return a text of which rich takes nothing for markup: names are anybody's."""
    return escape(printable(text))
