"""The notebook runs on any release, and is committed as it was run."""

import base64
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import pyarrow.parquet as pq
import pytest
from bson import ObjectId
from nbclient import NotebookClient
from nbformat import NotebookNode

from features.database import open_database
from features.parameters import NightlyParameters
from features.release.build import build_release
from features.release.ledger import hold_lease
from features.release.publish import switch, upload, verify
from features.schema import plan
from features.settings import Settings
from features.snapshot.take import take_snapshot
from features.sources.importer import import_table
from features.sources.sample import Sample, SampleSpec, make_sample, write_sample

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "01_look_at_a_release.ipynb"
PICTURES = {"listener", "embedding-map", "neighbors"}
IN_README = ("embedding-map", "listener")
ABSOLUTE_PATH = re.compile(r"/(home|root|work|tmp|Users|private|var)/|[A-Z]:\\\\")
END = datetime(2026, 3, 1, tzinfo=UTC)


def a_sample(users: int = 40) -> Sample:
    return make_sample(SampleSpec(users=users, tracks=160, days=30, seed=3), end=END)


def publish(settings: Settings) -> None:
    """The stages of the nightly flow, without Prefect."""
    now = datetime.now(UTC)
    home = settings.echotune_home
    with open_database(settings) as database, hold_lease(database) as token:
        manifest = build_release(take_snapshot(database, home, now), home, NightlyParameters(), END)
        verify(database, manifest, upload(database, home, manifest, token))
        switch(database, manifest, token)


def run(folder: Path) -> NotebookNode:
    """The committed notebook, run in a folder of its own by a new kernel; raises at a failing cell."""
    notebooks = folder / "notebooks"
    notebooks.mkdir()
    copy = Path(shutil.copy(NOTEBOOK, notebooks))
    notebook = nbformat.read(copy, as_version=4)
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook, kernel_name="python3", timeout=200, resources={"metadata": {"path": str(notebooks)}}
    )
    client.execute()
    return notebook


def committed() -> NotebookNode:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell: NotebookNode) -> list[tuple[str, ...]]:
    """What each output of a cell is, whatever it says."""
    return [(output.output_type, *sorted(output.get("data", {}))) for output in cell.outputs]


def text(cell: NotebookNode) -> str:
    """All that a cell's outputs say in letters."""
    said = [str(output.get("text", "")) + "\n".join(output.get("traceback", [])) for output in cell.outputs]
    shown = [data for output in cell.outputs for kind, data in output.get("data", {}).items() if "text" in kind]
    return "\n".join([*said, *map(str, shown)])


def pictures(notebook: NotebookNode) -> dict[str, bytes]:
    """PNG files by the id of their cell; an id a picture."""
    return {
        cell.id: base64.b64decode(output.data["image/png"])
        for cell in code_cells(notebook)
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    }


@pytest.fixture
def kernel_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel writes its history and connection files here, not in the home folder."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))


@pytest.mark.slow
@pytest.mark.usefixtures("kernel_folders")
def test_the_notebook_runs_on_a_sample_and_shows_what_the_committed_one_shows(
    settings: Settings, tmp_path: Path
) -> None:
    with open_database(settings) as database:
        plan.apply(database)
        write_sample(database, a_sample(), home=settings.echotune_home, now=END)
    publish(settings)
    executed = run(tmp_path)
    assert set(pictures(executed)) == PICTURES
    for cell, saved in zip(code_cells(executed), code_cells(committed()), strict=True):
        assert kinds(cell) == kinds(saved), f"cell {cell.id} shows other things than it was saved with; run it again"


@pytest.mark.slow
@pytest.mark.usefixtures("kernel_folders")
def test_the_notebook_runs_on_plays_of_unknown_tracks_by_listeners_with_object_ids(
    settings: Settings, tmp_path: Path
) -> None:
    plays = a_sample().plays
    by_object_id = [str(user).startswith("oid:") for user in plays["user_id"].to_pylist()]
    bare = plays.filter(by_object_id).select(["user_id", "track_id", "played_at"])
    file = tmp_path / "plays.parquet"
    pq.write_table(bare, file)
    with open_database(settings) as database:
        plan.apply(database)
        import_table(database, "plays", file, home=settings.echotune_home, now=END)
        assert {type(play["userId"]) for play in database["listening_history"].find()} == {ObjectId}
    publish(settings)
    executed = run(tmp_path)
    assert set(pictures(executed)) >= {"listener", "embedding-map"}
    said = {cell.id: text(cell) for cell in code_cells(executed)}
    assert "No audio features and no genres are known" in said["listener"]
    assert "Too few tracks have a genre" in said["map-check"]
    assert said["profile"].startswith("oid:")


def test_the_committed_notebook_was_run_once_from_top_to_bottom() -> None:
    notebook = committed()
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert set(pictures(notebook)) == PICTURES
    assert not [cell.id for cell in code_cells(notebook) for output in cell.outputs if output.output_type == "error"]
    assert not [cell.id for cell in code_cells(notebook) for output in cell.outputs if output.get("name") == "stderr"]


def test_the_committed_notebook_tells_nothing_of_where_it_was_run() -> None:
    notebook = committed()
    for cell in code_cells(notebook):
        assert not ABSOLUTE_PATH.search(text(cell)), f"cell {cell.id}"
        assert not cell.metadata, f"cell {cell.id}"
    assert not ABSOLUTE_PATH.search(str(notebook.metadata))
    assert notebook.metadata.kernelspec.name == "python3"


def test_the_pictures_of_the_readme_are_those_of_the_committed_notebook_and_small() -> None:
    shown = pictures(committed())
    for name in IN_README:
        saved = (ROOT / "docs" / "images" / f"{name}.png").read_bytes()
        assert saved == shown[name], (
            f"docs/images/{name}.png is another; the notebook's last cell says how to export it"
        )
        assert len(saved) < 150_000
    assert NOTEBOOK.stat().st_size < 700_000
