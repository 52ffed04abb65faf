"""The report: complete or absent, self-contained, and safe for whatever names the user's file brings."""

import base64
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import THREE, rows_of

from mmgan.errors import MmganError
from mmgan.evaluation.statistics import Interval
from mmgan.evaluation.verdict import Criterion
from mmgan.plots.samples import scatter
from mmgan.report.content import Picture, Report, Table
from mmgan.report.figures import Shown, curve_picture, pictures
from mmgan.report.page import write_report

NASTY = '<b>&"x" | $y$ url(#1) `z` \x07'
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Collects tags, attributes and text; raises where an element is closed that is not the last one opened."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.ids, self.attributes, self.text, self.open = Counter(), Counter(), [], "", []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.ids.update(value for key, value in attrs if key == "id")
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def shown(shapes: dict, classes: int = 2, absent: int | None = None, names: tuple[str, ...] | None = None) -> Shown:
    """Small random sets; the class `absent` has no synthetic samples."""
    y = np.arange(12) % classes
    train, heldout = (rows_of(shapes, y, seed) for seed in (0, 1))
    y_synthetic = y[y != absent]
    distance = {name: np.linspace(0.5, 2, 12) for name in ("joint", *shapes)}
    copies = {name: np.zeros(12) for name in distance}
    return Shown(
        train=(train, y),
        heldout=(heldout, y),
        synthetic=(rows_of(shapes, y_synthetic, 2), y_synthetic),
        class_names=names or tuple(f"class {k}" for k in range(classes)),
        distances={"real": distance, "smote": copies, "file.npz": distance},
        confusions={
            "trained on real samples": np.eye(classes),
            "trained on synthetic samples": np.full((classes,) * 2, np.nan),
        },
    )


def report_of(figures: list[Picture]) -> Report:
    return Report(
        title=f"About {NASTY}",
        verdict=[Criterion("faithful", "no", "AUC 0.93 < 0.95"), Criterion("new", "unknown", NASTY)],
        findings=["one", NASTY],
        facts={"file": "a|b.npz", NASTY: NASTY},
        tables=[Table("Scores", ["set", "a|b"], [["real", "0.5"], [NASTY, "nan"]], "a note", NASTY)],
        pictures=figures,
        notes=["a note"],
        data={"nan": float("nan"), "array": np.array([1.0, np.inf]), "n": np.int64(3), 4: {"x": (np.float32(0.5),)}},
    )


@pytest.fixture(scope="module")
def report() -> Report:
    curve = {
        "model": {"5": Interval(0.1, 0.0, 0.2, 0.1), "full": Interval(0.0, -0.1, 0.1, 0.1)},
        "real": {"5": Interval(0.2, 0.1, np.nan, np.nan)},
    }
    return report_of([*pictures(shown(THREE, names=("plain", NASTY)), "file.npz"), curve_picture(curve)])


@pytest.fixture(scope="module")
def folder(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "new"
    write_report(report, folder)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text())


@pytest.fixture
def small() -> Report:
    """A report whose one picture takes no time to draw."""
    figure = curve_picture({"model": {"5": Interval(0.1, 0.0, 0.2, 0.1)}})
    return report_of([figure])


def test_all_files_are_there_and_no_others(report, folder):
    assert {path.name for path in folder.iterdir()} == {"report.html", "report.md", "report.json", "figures"}
    assert len(list((folder / "figures").iterdir())) == len(report.pictures)


def test_sections_come_in_their_order(report):
    sections = list(dict.fromkeys(picture.section for picture in report.pictures))
    assert sections == ["Samples", "Spectra", "Embedding", "Distances", "Confusion", "Curve"]
    assert Counter(picture.section for picture in report.pictures)["Samples"] == 2 * len(THREE)


def test_the_page_shows_every_picture_and_each_has_a_label(report, page):
    assert page.tags["img"] == page.tags["figure"] == page.tags["figcaption"] == len(report.pictures)
    assert sum(key == "alt" and value.startswith("Samples: ") for key, value in page.attributes) == 6


def test_the_page_s_pictures_are_the_figures_files(folder, page):
    prefix = "data:image/svg+xml;base64,"
    drawn = [base64.b64decode(value.removeprefix(prefix)) for key, value in page.attributes if key == "src"]
    assert drawn == [path.read_bytes() for path in sorted((folder / "figures").iterdir())]


def test_the_page_asks_for_nothing_from_outside(page):
    assert not page.tags["script"] and not page.tags["link"]
    for key, value in page.attributes:
        if key in ("src", "href"):
            assert value.startswith(("#", "data:"))
        assert not key.startswith("on")
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'; img-src data:") in page.attributes


def test_ids_are_unique_and_every_reference_has_its_id(page):
    assert max(page.ids.values()) == 1
    used = {value[1:] for key, value in page.attributes if key == "href"}
    assert used and used <= set(page.ids)


def test_names_of_the_user_are_text(folder, page):
    assert not page.tags["b"]
    assert page.text.count('<b>&"x"') >= 5
    assert any("$y$" in path.read_text() for path in (folder / "figures").iterdir())  # and no formula


def test_figures_are_svg_files_on_white(folder):
    for path in (folder / "figures").iterdir():
        root = ElementTree.fromstring(path.read_text())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        background = root.find(".//*[@id='patch_1']")
        assert "fill: #ffffff" in background[0].get("style")


def test_json_is_strict(folder):
    def refuse(constant):
        raise AssertionError(constant)

    data = json.loads((folder / "report.json").read_text(), parse_constant=refuse)
    assert data == {"nan": None, "array": [1.0, None], "n": 3, "4": {"x": [0.5]}}


def test_markdown_has_straight_tables_and_pictures_that_exist(report, folder):
    text = (folder / "report.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3} and len(rows) == 4
    links = re.findall(r"^!\[.*\]\((.*)\)$", text, flags=re.M)
    assert len(links) == len(report.pictures) and all((folder / link).is_file() for link in links)
    assert "**faithful: no** (AUC 0.93 \\< 0.95)" in text


def test_a_number_s_column_is_known():
    table = Table("t", ["set", "a", "b", "c"], [["real", "0.5 [0.4, 0.6]", "-", "yes"], ["x", "nan", "-0.1", "1"]])
    assert table.numeric == [False, True, True, False]


def test_a_failure_leaves_the_old_report_and_nothing_else(small, tmp_path, monkeypatch):
    write_report(small, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    write_text = Path.write_text

    def fail(path, *args, **options):
        if path.name == "report.md":
            raise OSError(28, "No space left on device")
        return write_text(path, *args, **options)

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(MmganError, match="No space left"):
        write_report(replace(small, title="new"), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert len(list(tmp_path.iterdir())) == 4


def test_figures_of_an_earlier_report_go_and_other_files_stay(small, tmp_path):
    write_report(replace(small, pictures=small.pictures * 2), tmp_path)
    (tmp_path / "figures" / "mine.svg").touch()
    write_report(small, tmp_path)
    names = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert len(names) == 2 and names[1] == "mine.svg"


def test_the_same_report_is_the_same_files(small, tmp_path):
    for name in ("a", "b"):
        write_report(small, tmp_path / name)
    assert (tmp_path / "a" / "report.html").read_bytes() == (tmp_path / "b" / "report.html").read_bytes()


@pytest.mark.parametrize(
    ("shapes", "classes", "absent"),
    [({"v": (1,)}, 1, None), ({"wave": (1, 6)}, 1, None), ({"rgb": (3, 4, 2)}, 1, None), ({"v": (2,)}, 2, 1)],
)
def test_odd_sets_are_drawn(shapes, classes, absent, tmp_path):
    found = pictures(shown(shapes, classes, absent), "file.npz")
    assert Counter(picture.section for picture in found) == {
        "Samples": classes,
        "Spectra": classes,
        "Embedding": 1,
        "Distances": 1,
        "Confusion": 2,
    }
    write_report(report_of(found), tmp_path)


def test_many_classes_are_cut_and_that_is_said(monkeypatch):
    sets = shown({"v": (2,)}, classes=2)
    assert not any("are shown" in picture.about for picture in pictures(sets, "file.npz"))
    monkeypatch.setattr("mmgan.report.figures.MOST_CLASSES", 1)
    samples = [picture for picture in pictures(sets, "file.npz") if picture.section == "Samples"]
    assert len(samples) == 1 and "The first 1 of 2 classes are shown." in samples[0].about


def test_a_copy_stands_above_its_training_row_at_distance_0():
    sets = shown({"v": (4,), "w": (2, 3)}, classes=1)
    figure = pictures(replace(sets, synthetic=sets.train), "file.npz")[0].figure
    titles = [axis.get_title() for axis in figure.axes[6:]]
    assert titles == ["0 \N{MULTIPLICATION SIGN}"] * 3
    for copy, nearest in zip(figure.axes[3:6], figure.axes[6:], strict=True):
        np.testing.assert_array_equal(copy.lines[0].get_ydata(), nearest.lines[0].get_ydata())


def test_what_lies_outside_of_the_plane_is_counted():
    real = np.array([[0.0, 0.0], [1.0, 1.0]])
    figure = scatter(real, np.array([[0.5, 0.5], [9.0, 0.5], [0.5, -1e9]]))
    assert figure.axes[0].get_title(loc="left") == "2 of 3 synthetic samples lie outside"
