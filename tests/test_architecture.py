"""The floors of the house: a module imports only from below."""

import ast
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
FLOORS = yaml.safe_load(
    (ROOT / "docs" / "floors.yaml").read_text()
)  # from the ground up; a room is a module or a package of mmgan
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MODULES = sorted(
    path for path in (ROOT / "mmgan").rglob("*.py") if path.parent != ROOT / "mmgan" or path.stem != "__init__"
)


def imported(path: Path) -> set[str]:
    """Return the dotted names that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_from_below_only(path):
    room = path.relative_to(ROOT / "mmgan").parts[0].removesuffix(".py")
    above = [
        name
        for name in imported(path)
        if name.startswith("mmgan.") and (other := name.split(".")[1]) != room and FLOOR[other] >= FLOOR[room]
    ]
    assert not above


@pytest.mark.parametrize(
    "room",
    [
        "evaluation",
        "report",
        "plots",
        "baselines.py",
        "schema.py",
        "errors.py",
        "data/files.py",
        "data/pickles.py",
        "data/synthetic_file.py",
    ],
)
def test_what_judges_or_reads_any_file_knows_no_torch(room):
    where = ROOT / "mmgan" / room
    for path in where.rglob("*.py") if where.is_dir() else [where]:
        assert not {name.split(".")[0] for name in imported(path)} & {"torch", "lightning"}


@pytest.mark.parametrize("script", ["train.py", "tune.py", "synthesize.py", "evaluate.py"])
def test_a_script_is_short_and_loads_nothing_heavy_before_it_starts(script):
    tree = ast.parse((ROOT / script).read_text())
    at_start = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert at_start == {"mmgan.commands.entry"}
    assert len((ROOT / script).read_text().splitlines()) <= 20


# -- one door, tasks, rooms ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_configuration_stays_in_the_commands(path):
    if path.parent.name == "commands":
        return
    tree = ast.parse(path.read_text())
    words = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    words |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    assert not words & {"cfg", "DictConfig", "ListConfig", "OmegaConf"}
    assert not {name for name in imported(path) if name.startswith("omegaconf")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_kind_of_model_is_asked_for_in_models_and_tasks_alone(path):
    where = path.relative_to(ROOT / "mmgan")
    if where.parts[0] == "models" or where.as_posix() == "training/tasks.py":
        return
    tree = ast.parse(path.read_text())
    known = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("mmgan.models", "mmgan.training.tasks"))
        for alias in node.names
    }
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        if node.func.id in ("isinstance", "issubclass"):
            asked = {name.id for name in ast.walk(node.args[1]) if isinstance(name, ast.Name)}
            assert not asked & known, f"line {node.lineno}"
        if node.func.id == "type":
            asked = {name.id for name in ast.walk(node.args[0]) if isinstance(name, ast.Name)}
            assert not asked & {"model", "synthesizer", "pl_module", "task"}, f"line {node.lineno}"


def test_the_house_has_few_rooms():
    entries = {path.name for path in (ROOT / "mmgan").iterdir()} - {"__pycache__", "__init__.py", "py.typed", "conf"}
    assert len(entries) <= 17, sorted(entries)


def test_the_floors_are_stated_once_and_shown_whole():
    floors = (ROOT / "docs" / "floors.yaml").read_text()
    assert f"```yaml\n{floors}```" in (ROOT / "docs" / "architecture.md").read_text()
    rooms = {
        path.stem for path in (ROOT / "mmgan").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert rooms - {"__init__"} == set(FLOOR)


def test_the_data_know_no_evaluation():
    for path in (ROOT / "mmgan" / "data").rglob("*.py"):
        assert not [name for name in imported(path) if name.startswith("mmgan.evaluation")]
