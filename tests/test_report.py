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
from conftest import CONF, THREE, compose, content, rows_of
from matplotlib.lines import Line2D

from mmgan.commands.evaluate import judge_file
from mmgan.data.files import write_pickle
from mmgan.errors import MmganError
from mmgan.evaluation.evaluator import FoldSamples
from mmgan.evaluation.metrics import METRICS
from mmgan.evaluation.statistics import Interval
from mmgan.evaluation.verdict import Answer, Criterion
from mmgan.plots.samples import scatter
from mmgan.report.content import Picture, Report, Table
from mmgan.report.criteria import criteria_tables, power_table
from mmgan.report.figures import Shown, curve_picture, pictures
from mmgan.report.page import write_report
from mmgan.report.tables import Correction, heading, metric_tables

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
    distance = {name: np.linspace(0.5, 2, 12) for name in ("joint", *(shapes if len(shapes) > 1 else ()))}
    copies = {name: np.zeros(12) for name in distance}
    synthetic = rows_of(shapes, y_synthetic, 2), y_synthetic
    return Shown(
        folds=[FoldSamples(1, (train, y), (heldout, y), synthetic)],
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
        verdict=[Answer("faithful", "no", "AUC 0.93 < 0.95"), Answer("new", "too few samples to tell", NASTY)],
        findings=["one", NASTY],
        facts={"file": "a|b.npz", NASTY: NASTY},
        tables=[Table("Scores", ["set", "a|b"], [["real", "0.5"], [NASTY, "nan"]], "a note", NASTY, {"a|b": NASTY})],
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
    assert sections == ["Samples", "PCA", "Autocorrelation", "Spectra", "Distances", "Confusion", "Curve"]
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


def test_headings_are_explained_and_answers_have_a_tone(page):
    assert page.tags["abbr"] == 1 and ("title", NASTY) in [(k, v.replace("\ufffd", "\x07")) for k, v in page.attributes]
    assert {value for key, value in page.attributes if key == "data-answer"} == {"no", "too few samples to tell"}


def test_pictures_name_their_axes(report):
    for picture in report.pictures:
        names = [(axis.get_xlabel(), axis.get_ylabel()) for axis in picture.figure.axes]
        shared = picture.figure.get_supxlabel(), picture.figure.get_supylabel()
        assert all(shared) or all(map(all, names)), picture.section


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
        "PCA": 1,
        "Distances": 1,
        "Confusion": 2,
    }
    write_report(report_of(found), tmp_path)


@pytest.mark.slow
def test_many_classes_are_cut_and_that_is_said(monkeypatch):
    sets = shown({"v": (2,)}, classes=2)
    assert not any("are shown" in picture.about for picture in pictures(sets, "file.npz"))
    monkeypatch.setattr("mmgan.report.figures.MOST_CLASSES", 1)
    samples = [picture for picture in pictures(sets, "file.npz") if picture.section == "Samples"]
    assert len(samples) == 1 and "The first 1 of 2 classes are shown." in samples[0].about


def test_a_copy_stands_above_its_training_row_at_distance_0():
    sets = shown({"v": (4,), "w": (2, 3)}, classes=1)
    fold = replace(sets.folds[0], synthetic=sets.folds[0].train)
    figure = pictures(replace(sets, folds=[fold]), "file.npz")[0].figure
    assert [text.get_text() for text in figure.texts].count("0 \N{MULTIPLICATION SIGN}") == 3
    lines = [artist.get_ydata() for artist in figure.artists if isinstance(artist, Line2D)]
    np.testing.assert_allclose(np.diff(lines[3:6]), np.diff(lines[6:]), atol=1e-9)  # each in its own place


def test_the_autocorrelation_is_that_of_each_channel(monkeypatch):
    seen = []
    monkeypatch.setattr("mmgan.report.figures.mean_and_spread", lambda *pair, **said: seen.append((pair, said)))
    wave = np.sin(np.arange(40) * np.pi / 4)  # of period 8
    x, y = {"wave": np.tile(wave, (6, 2, 1)) * np.array([[[1e-9], [2e-9]]])}, np.zeros(6, int)
    sets = shown({"wave": (2, 40)}, classes=1)
    fold = FoldSamples(1, (x, y), (x, y), ({"wave": x["wave"][:, ::-1]}, y))
    pictures(replace(sets, folds=[fold]), "file.npz")
    ((pair, said),) = [call for call in seen if call[1]]  # beside the spectra
    assert said == {"names": ("lag", "autocorrelation"), "first": 1}
    for values in pair:
        assert values["wave"].shape == (6, 2, 20)  # 36 and 32 of 40 products are left
        np.testing.assert_allclose(values["wave"][..., [3, 7]], np.full((6, 2, 2), [-0.9, 0.8]), atol=0.01)


def test_a_vector_has_an_autocorrelation_where_its_values_have_an_order():
    sets = shown({"v": (9,)}, classes=1)
    for ordered, count in (((), 0), (("v",), 1)):
        found = pictures(replace(sets, ordered=ordered), "file.npz")
        assert sum(picture.section == "Autocorrelation" for picture in found) == count


def test_what_lies_outside_of_the_plane_is_counted():
    real = np.array([[0.0, 0.0], [1.0, 1.0]])
    figure = scatter(real, np.array([[0.5, 0.5], [9.0, 0.5], [0.5, -1e9]]))
    assert figure.axes[0].get_title(loc="left") == "2 of 3 synthetic samples lie outside"


# -- tables -------------------------------------------------------------------------------------------------------------
def criterion(key: str, value: float, part: str = "", low: float = -np.inf, high: float = 0.6) -> Criterion:
    return Criterion(key, value, 0.5, low, high, METRICS[key.split("/")[0]].limit, part)


def test_a_metric_s_criteria_are_one_line_and_all_stand_in_a_table_of_their_own():
    faithful = [criterion("c2st", 0.55), *(criterion(f"c2st/m{k}", 0.7 + k / 100, f"m{k}") for k in range(6))]
    faithful += [criterion(f"label_recall/{k}", 0.3 + k / 10, f"class {k}", 0.45, 0.9) for k in range(3)]
    new = [criterion("copies", 0.0, high=0.01)]
    verdict = [Answer("faithful", "no", "", tuple(faithful)), Answer("new", "yes", "", tuple(new))]
    folded, every = criteria_tables([*verdict, Answer("useful", "yes", "")])
    assert folded.rows == [
        ["C2ST", "no", ".55", ".50", "at most .60", "faithful", "m5 .75, m4 .74, m3 .73, and 3 more"],
        ["label recall (class 0)", "no", ".30", ".50", ".45 to .90", "faithful", "class 1 .40"],
        ["copies", "yes", ".00", ".50", "at most .01", "new", ""],
    ]
    assert len(every.rows) == 11 and every.rows[1][:3] == ["C2ST m5", "no", ".75"]
    assert folded.meanings["C2ST"].startswith(METRICS["c2st"].meaning)


def fold_metrics(**changes: float) -> dict[str, float]:
    parts = {metric.name: 0.5 for metric in METRICS.values() if not metric.by_class}
    return (
        parts
        | {"gain/0": 0.01, "gain/1": 0.03, "c2st/env": 0.6, "class_recall/10": 0.1, "class_recall/2": 0.2}
        | changes
    )


def test_every_metric_has_a_column_and_what_is_not_defined_is_none():
    rows = {"real": {0: fold_metrics(chance=0.1)}, "x": {0: fold_metrics(axis_c2st=np.nan, tstr=0.25)}}
    quality, *others = metric_tables(rows, Correction(80, 20), "x")
    column = dict(zip(quality.columns, quality.rows[1], strict=True))
    assert (column["axis C2ST"], column["TSTR / real"], column["coverage / real"]) == ("none", ".500", "1.000")
    assert re.fullmatch(r"\+2\.0 ± \d+\.\d", column["gain, points"]) and "over folds" in quality.note
    shown = {key for table in (quality, *others) for key in table.columns}
    assert {heading(metric.name) for metric in METRICS.values() if not metric.by_class} <= shown
    assert others[0].title == "Fidelity" and "C2ST env" in others[0].columns
    assert others[-1].columns == ["", "class 2", "class 10"] and others[-1].title == "Class recall"
    assert all(set(table.columns[1:]) == set(table.meanings) for table in (quality, *others))
    rows["real"][0]["tstr"] = 0.05  # below chance: no ratio has a meaning
    assert "TSTR / real" not in metric_tables(rows, Correction(80, 20))[0].columns


def test_classes_are_named_where_no_two_are_alike():
    rows = {"real": {1: fold_metrics()}}
    names = [f"c{k}" for k in range(11)]
    for given, columns in ((names, ["c2", "c10"]), (["c"] * 11, ["class 2", "class 10"])):
        assert metric_tables(rows, Correction(80, 20), class_names=given)[-1].columns == ["", *columns]


def test_the_power_is_said_where_it_was_measured(monkeypatch):
    assert not power_table(10**6) or power_table(10**6)[0].rows
    monkeypatch.setattr(
        "mmgan.report.criteria.power", lambda question, n: {"copies": 0.95} if question == "new" else {}
    )
    (table,) = power_table(60)
    assert table.columns == ["fault", "faithful", "new"] and table.rows == [["copies", "", "95%"]]


# -- what the docs say --------------------------------------------------------------------------------------------------
DOCS = (CONF.parent / "docs" / "evaluation.md").read_text()


def paths(value, trail="") -> set[str]:
    """The paths of a tree's leaves; a list's items are []."""
    if isinstance(value, dict):
        return set().union(*(paths(item, f"{trail}.{key}" if trail else str(key)) for key, item in value.items()))
    return (
        set().union({f"{trail}[]"}, *(paths(item, f"{trail}[]") for item in value))
        if isinstance(value, list)
        else {trail}
    )


@pytest.mark.slow
def test_the_docs_describe_report_json(tiny, tmp_path, monkeypatch):
    """Each path of the file is in the docs' list, where * is any name, and each of the list is in the file."""
    monkeypatch.setattr("mmgan.report.judgement.pictures", lambda *shown: [])
    user = content(seed=1)
    synthetic = {"folds": [{"fold": k, "x_synth": user["x_train"], "y_synth": user["y_train"]} for k in (1, 2)]}
    write_pickle(tmp_path / "rows.pkl", synthetic)
    words = [f"synthetic={tmp_path / 'rows.pkl'}", "quick=true", "workers=1"]
    folder = judge_file(compose("evaluate", *words, path=tiny))
    found = paths(json.loads((folder / "report.json").read_text()))
    listed = re.findall(r"^\| `([^`]+)` \|", DOCS.split("## report.json")[1], flags=re.M)
    patterns = [re.compile(re.escape(path).replace(r"\*", r"[^\[]+")) for path in listed]
    assert not [path for path in found if not any(pattern.fullmatch(path) for pattern in patterns)]
    assert not [pattern.pattern for pattern in patterns if not any(map(pattern.fullmatch, found))]
