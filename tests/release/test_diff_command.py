"""`echotune releases diff` as a person meets it: which two, sentences, tables, JSON."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from features.errors import NotFoundError
from features.evaluate.drift import DimensionDrift, Movement
from features.release.diff import KeptLists, ReleaseDiff, Turnover, diff_releases
from features.release.manifest import Manifest, release_folder
from features.settings import Settings, get_settings
from features.storage import write_json
from flows.cli import app
from flows.commands.release_diff import in_words, reading

Publish = Callable[..., Manifest]


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["releases", "diff", *words])


@pytest.fixture
def found(home: Path, manifest: Manifest, another: Callable[..., Manifest]) -> ReleaseDiff:
    return diff_releases(home, manifest.id, another(1).id)


def test_which_two_are_compared(
    settings: Settings, manifest: Manifest, another: Callable[..., Manifest], publish: Publish
) -> None:
    assert isinstance(run().exception, NotFoundError)
    assert "no release is live yet" in str(run().exception)
    publish(manifest)
    assert "no release was live before" in str(run().exception)
    second, third, fourth = (another(number) for number in (2, 3, 4))
    publish(second)
    publish(third)
    for words, old, new in (
        ((), second, third),
        ((manifest.id,), manifest, third),
        ((fourth.id,), fourth, third),
        ((third.id, manifest.id), third, manifest),
    ):
        told = run(*words)
        assert told.exit_code == 0
        assert told.stdout.startswith(f"from {old.id} (as of 2026-03-01 03:00 UTC) to {new.id} (as of")


def test_two_named_releases_need_no_database(
    home: Path,
    manifest: Manifest,
    another: Callable[..., Manifest],
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
) -> None:
    monkeypatch.setenv("MONGODB_URI", "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100")
    get_settings.cache_clear()
    assert run(manifest.id, another(1).id).exit_code == 0


def test_a_release_that_is_not_here_is_told(settings: Settings, manifest: Manifest, publish: Publish) -> None:
    publish(manifest)
    told = run("2020-01-01-abcdef").exception
    assert isinstance(told, NotFoundError)
    assert "release 2020-01-01-abcdef is not under" in str(told)


def test_json_has_everything_and_null_where_it_is_undefined(
    settings: Settings, home: Path, manifest: Manifest, another: Callable[..., Manifest]
) -> None:
    other = another(1)
    path = release_folder(home, other.id) / "user_profile.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    told = json.loads(run(manifest.id, other.id, "--json").stdout, parse_constant=pytest.fail)
    assert {entry["psi"] for entry in told["dimensions"]} == {None}
    assert told["turnover"][0]["went"] == 4
    assert told["new"]["release"] == other.id
    assert set(told) == set(ReleaseDiff.__dataclass_fields__)


def test_people_are_told_in_tables_too(
    settings: Settings, home: Path, manifest: Manifest, another: Callable[..., Manifest]
) -> None:
    other = replace(another(1), metrics={"ndcg@10": 0.125})
    path = release_folder(home, other.id) / "track_embedding.parquet"
    write_json(path.with_name("manifest.json"), other.to_json())
    table = pq.read_table(path)
    pq.write_table(table.set_column(0, "track_id", pa.array([f"new-{i:02d}" for i in range(table.num_rows)])), path)
    told = run(manifest.id, other.id).stdout
    assert "16 tracks came, 16 went" in told
    assert "embeddings: no track has one in both" in told
    assert "new-00, new-01, new-02, new-03, new-04, …" in told
    for title in ("Counts", "Came and went", "Dimensions that shifted most", "Kept", "Metrics"):
        assert title in told
    assert "0.125" in told


def test_nothing_changed_is_said_so(found: ReleaseDiff) -> None:
    words = in_words(found)
    assert words[1] == "0 listeners came, 0 went; 0 tracks came, 0 went"
    assert words[2].endswith(f"PSI 0.00 (none); 0 of {len(found.dimensions)} dimensions shifted")
    assert words[3].startswith("embeddings moved by a cosine distance of 0.000 in the median, 0.000 at most; neither")
    assert words[4] == "listeners kept 100% of their neighbours"
    assert words[-1] == f"gate before: {found.old.verdict}; after: {found.new.verdict}"


def test_what_changed_is_said_with_how_much_that_is(found: ReleaseDiff) -> None:
    changed = replace(
        found,
        turnover=[
            Turnover("user_profile", 20, 1031, 1012, 1, ["a"], ["b"]),
            Turnover("similarity", 1, 1, 9, 9, [], []),
        ],
        dimensions=[
            DimensionDrift("energy_mean", 0.314, 0.2, 0.5, 0.6),
            DimensionDrift("valence_mean", 0.1, 0.1, 0.5, 0.5),
            DimensionDrift("tempo_mean", 0.09, 0.1, 0.5, 0.5),
        ],
        dimensions_came=["genre_ska"],
        dimensions_went=[f"genre_{i}" for i in range(7)],
        movement=Movement(900, 0.0216, 0.1, 0.4),
        movement_note="the new embeddings are aligned to the old",
        lists=[KeptLists("similarity", 0, math.nan, math.nan), KeptLists("hybrid", 9, 0.815, 0.9)],
    )
    assert in_words(changed)[1:5] == [
        "1,012 listeners came, 1 went",
        (
            "largest shift: energy_mean, PSI 0.31 (much); 2 of 3 dimensions shifted; new dimensions: genre_ska; "
            "dimensions gone: genre_0, genre_1, genre_2, genre_3, genre_4, …"
        ),
        (
            "embeddings moved by a cosine distance of 0.022 in the median, 0.400 at most; "
            "the new embeddings are aligned to the old"
        ),
        "lists kept their tracks: 82% of the hybrid ones",
    ]
    cut_off = replace(changed, movement=None, movement_note="embeddings of 4 and of 8 dimensions can't be compared")
    assert cut_off.movement_note in in_words(cut_off)


def test_a_psi_is_read_as_is_usual() -> None:
    assert [reading(psi) for psi in (0.0, 0.0999, 0.1, 0.25, 0.2501, math.nan)] == [
        *("none", "none", "some", "some", "much", "undefined")
    ]
