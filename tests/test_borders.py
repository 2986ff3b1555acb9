"""The house's inner borders, read from the source: who may import what, and who may spell the database's names."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PURE_ROOMS = ("compute", "recommend", "evaluate")
ALL_FEATURES = sorted((ROOT / "features").rglob("*.py"))
PURE = [path for path in ALL_FEATURES if path.relative_to(ROOT).parts[1] in PURE_ROOMS]
JOIN = ROOT / "features" / "attribution" / "join.py"
"""The one part of its room that touches nothing."""
OUTSIDE_WORLD = frozenset(
    {"pymongo", "bson", "prefect", "os", "time", "datetime", "pathlib", "io", "shutil", "tempfile"}
    | {"subprocess", "socket", "threading", "multiprocessing", "pyarrow.parquet", "pyarrow.dataset", "flows"}
    | {f"features.{name}" for name in ("database", "settings", "snapshot", "release", "sources", "embedded", "storage")}
    | {"features.progress", "features.schema.ids", "features.schema.collections", "features.schema.plan"}
)
"""What a room that touches nothing outside must not import. `features.schema.ids` makes ObjectIds."""
MAY_SPELL_FIELDS = ("schema", "sources", "snapshot", "release", "erasure", "attribution")
CAMEL_CASE = re.compile(
    r"[a-z]+[A-Z][A-Za-z]*|[a-z][A-Za-z]*(\.[a-z][A-Za-z]*)*\.[a-z]+[A-Z][A-Za-z]*|[a-z]+[A-Z][A-Za-z]*(\.[A-Za-z]+)+"
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports_of(path: Path) -> Iterator[str]:
    """Every module and every `module.name` imported anywhere in a file, delayed imports included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} has a relative import, which this test can't read"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in {
            "__import__",
            "import_module",
        }:
            yield from (str(arg.value) for arg in node.args if isinstance(arg, ast.Constant))


def is_within(module: str, packages: frozenset[str]) -> bool:
    parts = module.split(".")
    return any(".".join(parts[:length]) in packages for length in range(1, len(parts) + 1))


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and value of every text in a file but docstrings."""
    tree = ast.parse(path.read_text())
    lone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in lone:
            yield node.lineno, node.value


def test_the_rooms_are_where_they_are_looked_for():
    assert {path.relative_to(ROOT).parts[1] for path in PURE} == set(PURE_ROOMS)
    assert len(PURE) >= 12


@pytest.mark.parametrize("path", [*PURE, JOIN], ids=name_of)
def test_a_pure_room_imports_nothing_of_the_outside_world(path):
    assert sorted(module for module in imports_of(path) if is_within(module, OUTSIDE_WORLD)) == []


@pytest.mark.parametrize("path", [*PURE, JOIN], ids=name_of)
def test_a_pure_room_opens_no_file_and_asks_no_clock(path):
    asked = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name) and node.id in {"open", "print", "input", "exec", "eval"}:
            asked.append((node.lineno, node.id))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "builder":
            continue  # of machine code: its `load` reads a register's worth
        if isinstance(node, ast.Attribute) and node.attr in {
            "now",
            "utcnow",
            "today",
            "load",
            "save",
            "savez",
            "tofile",
            "fromfile",
        }:
            asked.append((node.lineno, node.attr))
    assert asked == []


@pytest.mark.parametrize("path", PURE, ids=name_of)
def test_a_pure_room_draws_no_number_without_a_seed(path):
    drawn = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called = ast.unparse(node.func)
            # what a generator with a seed draws is a call on that call
            of_module = called.rpartition(".")[0] in {"np.random", "numpy.random", "random"}
            if of_module and not (called.endswith("default_rng") and node.args):
                drawn.append((node.lineno, called))
    assert drawn == []


@pytest.mark.parametrize("path", ALL_FEATURES, ids=name_of)
def test_features_import_nothing_of_the_flows_nor_of_prefect(path):
    flow_side = frozenset({"flows", "prefect", "prefect_dask"})
    assert sorted(module for module in imports_of(path) if is_within(module, flow_side)) == []


@pytest.mark.parametrize("path", [*PURE, JOIN, ROOT / "features" / "parameters.py"], ids=name_of)
def test_inside_names_are_snake_case_and_the_database_is_never_spelled(path):
    assert [(line, text) for line, text in texts_of(path) if CAMEL_CASE.fullmatch(text)] == []


def test_only_the_rooms_at_the_border_spell_the_fields_of_the_database():
    from features.schema.collections import COLLECTIONS

    fields = {
        name
        for collection in COLLECTIONS
        for name in property_names(collection.validator)
        if CAMEL_CASE.fullmatch(name)
    }
    assert {"userId", "playedAt", "audioFeatures", "completionRate"} <= fields
    spelled = [
        (name_of(path), line, text)
        for path in ALL_FEATURES
        if path.relative_to(ROOT).parts[1] not in {*MAY_SPELL_FIELDS, "database.py"}
        for line, text in texts_of(path)
        if fields.intersection(text.removeprefix("$").split("."))
    ]
    assert spelled == []


def property_names(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield from schema["properties"]
        for value in schema.values():
            yield from property_names(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from property_names(value)


@pytest.mark.parametrize(
    "text", ["userId", "playedAt", "audioFeatures.energy", "features.vectorSize", "context.recommendationId"]
)
def test_a_field_of_the_database_is_known_by_its_camel_case(text):
    assert CAMEL_CASE.fullmatch(text)


@pytest.mark.parametrize(
    "text", ["user_id", "energy_mean", "Played by one listener", "content-based", "features.vector", "A", ""]
)
def test_other_texts_are_not_taken_for_fields(text):
    assert not CAMEL_CASE.fullmatch(text)


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


WITHOUT_PREFECT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"prefect", "prefect_dask"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
"""


def test_every_room_can_be_entered_without_prefect():
    modules = [name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in ALL_FEATURES]
    code = f"{WITHOUT_PREFECT}\nimport importlib\nprint(len([importlib.import_module(name) for name in {modules!r}]))"
    assert int(run_python(code)) == len(modules)


def test_reading_a_release_and_assembling_the_command_line_do_not_pay_for_prefect():
    code = (
        "import sys, features, features.release.store, flows.cli\n"
        "print([name for name in sys.modules if name.split('.')[0] in {'prefect', 'prefect_dask', 'dask'}])"
    )
    assert run_python(code) == "[]"


def test_assembling_the_command_line_does_not_pay_for_what_only_some_commands_compute_with():
    code = (
        "import sys, flows.cli\n"
        "print([name for name in sys.modules if name in {'pandas', 'numba', 'scipy', 'sklearn'}])"
    )
    assert run_python(code) == "[]"


@pytest.mark.parametrize("module", ["attribution", "reading", "releases", "database", "schema", "doctor", "erase"])
def test_a_read_command_does_not_import_prefect_when_it_is_run_either(module):
    flow_side = frozenset({"prefect", "prefect_dask", "flows.nightly"})
    assert [
        name for name in imports_of(ROOT / "flows" / "commands" / f"{module}.py") if is_within(name, flow_side)
    ] == []


def test_the_command_line_answers_where_prefect_is_missing():
    reading = ["profile", "similar-users", "similar-tracks", "recommend", "releases list", "doctor", "db uri"]
    commands = ["", "erase", *reading]
    code = f"""{WITHOUT_PREFECT}
from flows.cli import main
for command in {commands!r}:
    sys.argv = ["echotune", *command.split(), "--help"]
    try:
        main()
    except SystemExit as end:
        assert not end.code
"""
    assert run_python(code).count("Usage: echotune") == len(commands)


def test_the_package_itself_imports_nothing_heavy():
    heavy = "{'numpy', 'pandas', 'pyarrow', 'scipy', 'sklearn', 'pymongo', 'pydantic'}"
    assert run_python(f"import sys, features\nprint({heavy} & set(sys.modules))") == "set()"
