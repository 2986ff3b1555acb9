"""`echotune evaluate` as a person and a program meet it, on a sample in a real database."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from commands import echotune
from pymongo import MongoClient
from pymongo.database import Database

from features.database import open_database
from features.evaluate.report import METRICS
from features.parameters import with_settings
from features.release.build import build_release
from features.release.manifest import releases_on_disk
from features.settings import Settings, get_settings
from features.snapshot.stored import open_snapshot
from features.sources.sample import SampleSpec, make_sample, write_sample

pytestmark = pytest.mark.slow
END = datetime(2026, 3, 1, tzinfo=UTC)
AS_OF = ("--as-of", "2026-02-28")
QUICK = (
    "--set",
    "ranking.closed_form_limit=0",
    "--set",
    "models.ials.iterations=3",
    "--set",
    "models.ials.dimensions=8",
)


@pytest.fixture(scope="module")
def imported(server_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a database with an imported sample and no night yet. Not to be changed."""
    name = f"echotune_test_evaluated_{ObjectId()}"
    home = tmp_path_factory.mktemp("evaluated") / "home"
    environment = {"MONGODB_URI": server_uri, "MONGODB_DATABASE": name, "ECHOTUNE_HOME": str(home)}
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in environment.items():
            patch.setenv(variable, value)
        get_settings.cache_clear()
        with open_database(get_settings()) as database:
            sample = make_sample(SampleSpec(users=60, tracks=100, days=40, seed=3), end=END)
            write_sample(database, sample, home=home, now=END)
    yield environment
    with MongoClient(server_uri) as client:
        client.drop_database(name)


@pytest.fixture
def sampled(settings: Settings, imported: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Settings for the shared sample and a data folder of the test's own."""
    for variable, value in imported.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("ECHOTUNE_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    return get_settings()


def told(*words: object) -> Any:
    status, out, err = echotune("evaluate", *AS_OF, *QUICK, *words, "--json")
    assert (status, err) == (0, "")
    return json.loads(out)


def figure(report: Any, strategy: str, metric: str, k: int = 100, group: str = "all") -> dict[str, Any]:
    (found,) = (
        row
        for row in report["figures"]
        if (row["strategy"], row["metric"], row["k"], row["group"]) == (strategy, metric, k, group)
    )
    return dict(found)


def test_it_works_right_after_an_import_and_leaves_no_release(sampled: Settings) -> None:
    status, out, err = echotune("evaluate", *AS_OF, *QUICK)
    assert (status, err) == (0, "")
    assert "time split: held out is what was taken to in the 7 days from 2026-02-22 00:00 UTC on" in out
    for word in ("Everybody with a history", "By tracks in the history", "Newcomers", "ndcg less hybrid's", "coverage"):
        assert word in out
    for strategy in ("hybrid", "collaborative", "content-based", "popular"):
        assert f"│ {strategy} " in out
    assert releases_on_disk(sampled.echotune_home) == []
    assert sorted(path.name for path in sampled.echotune_home.iterdir()) == ["snapshot"]
    with open_database(sampled) as database:
        assert database["releases"].count_documents({"state": {"$exists": True}}) == 0
        assert database["feature_store"].count_documents({}) == 0


def test_for_programs_it_prints_every_figure_and_null_for_what_is_undefined(sampled: Settings) -> None:
    report = told("--k", "5,100", "--models")
    assert list(report) == [
        *("split", "holdout_days", "as_of", "snapshot", "parameter_file", "parameters"),
        *("users", "recipes", "against", "figures"),
    ]
    assert (report["split"], report["holdout_days"], report["parameter_file"]) == ("time", 7, None)
    assert report["parameters"]["models"] == {"ials": {"iterations": 3, "dimensions": 8}}
    users = report["users"]
    assert users["users"] == users["with_history"] + users["newcomers"] + users["silent"]
    assert users["with_history"] == users["measured"] + users["not_drawn"] + users["undefined"]
    assert {row["metric"] for row in report["figures"]} == set(METRICS)
    assert {row["k"] for row in report["figures"]} == {5, 100}
    assert {"item_knn", "ials", "hybrid", "popular", "served"} <= {row["strategy"] for row in report["figures"]}
    assert all(
        0 <= row["mean"] <= 1 for row in report["figures"] if row["metric"] == "ndcg" and row["mean"] is not None
    )
    assert figure(report, "hybrid", "ndcg")["users"] == users["measured"]
    assert figure(report, "hybrid", "ndcg")["difference"] is None
    assert figure(report, "hybrid", "coverage")["low"] is None
    assert figure(report, "hybrid", "ndcg", group="100+ tracks")["users"] == 0
    assert figure(report, "hybrid", "ndcg", group="100+ tracks")["mean"] is None
    assert told("--k", "5,100", "--models") == report


def test_figures_are_those_that_a_release_of_the_same_parameters_has(sampled: Settings) -> None:
    report = told()
    snapshot = open_snapshot(sampled.echotune_home, sampled.mongodb_database)
    manifest = build_release(snapshot, sampled.echotune_home, with_settings(QUICK[1::2]), END)
    assert report["snapshot"] == manifest.snapshot
    assert figure(report, "hybrid", "ndcg")["mean"] == pytest.approx(manifest.metrics["ndcg@100"], rel=1e-9)
    assert figure(report, "hybrid", "recall", 20)["mean"] == pytest.approx(manifest.metrics["recall@20"], rel=1e-9)
    assert figure(report, "hybrid", "ndcg")["users"] == manifest.metrics["users"]
    assert report["recipes"]["hybrid"] == manifest.strategies["hybrid"]


@pytest.mark.parametrize("split", ["last", "random"])
def test_other_splits_hold_out_a_fifth_of_each_users_tracks(sampled: Settings, split: str) -> None:
    report = told("--split", split, "--strategy", "hybrid", "--k", "100")
    assert (report["split"], report["holdout_days"], report["users"]["newcomers"]) == (split, None, 0)
    assert figure(report, "hybrid", "ndcg")["mean"] > 0
    assert {row["strategy"] for row in report["figures"] if row["group"] == "all"} == {"hybrid"}
    other = told("--split", split, "--strategy", "hybrid", "--k", "100", "--seed", "5")
    assert other["parameters"]["evaluation"]["seed"] == 5
    assert (figure(other, "hybrid", "ndcg")["mean"] != figure(report, "hybrid", "ndcg")["mean"]) == (split == "random")


def test_options_reach_the_evaluation(sampled: Settings) -> None:
    report = told(
        "--users", "9", "--holdout-days", "14", "--against", "popular", "--strategy", "collaborative", "--k", "7"
    )
    assert (report["holdout_days"], report["against"]) == (14, "popular")
    assert report["users"]["measured"] == 9
    assert report["users"]["not_drawn"] > 0
    assert figure(report, "collaborative", "ndcg", 7)["difference"] is not None
    assert figure(report, "popular", "ndcg", 7)["difference"] is None


def test_a_stored_snapshot_is_taken_as_it_is(sampled: Settings, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    status, _, err = echotune("evaluate", *AS_OF, "--stored")
    assert status != 0
    assert len(err.strip().splitlines()) == 1
    first = told("--strategy", "popular", "--against", "popular")
    monkeypatch.setenv("MONGODB_URI", "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=200")
    assert told("--strategy", "popular", "--against", "popular", "--stored") == first


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--k", "0"], "--k 0: 0 is no number from 1 to 1000; write 10,20,100"),
        (["--k", "10,"], "--k 10,: nothing is no number"),
        (["--k", "ten"], "--k ten: ten is no number"),
        (["--k", "1001"], "1001 is no number from 1 to 1000"),
        (["--split", "sideways"], "sideways"),
        (["--holdout-days", "0"], "--holdout-days"),
        (["--as-of", "soon"], "--as-of soon is neither a date"),
        (["--as-of", "2020-01-01"], "no plays before 2020-01-02"),
        ([*AS_OF, "--holdout-days", "300"], "nothing is left to learn from (time split"),
        ([*AS_OF, "--strategy", "magic"], "--strategy magic: there is no such strategy here; there are hybrid, "),
        ([*AS_OF, "--against", "ease", *QUICK], "--against ease: there is no such strategy here"),
        (
            ["--plot", "picture.bmp"],
            "--plot picture.bmp: its ending says what is written; take one of .png, .svg, .pdf",
        ),
        (["--budget", "5m"], "--budget and --trials are of a search; add --tune"),
        (["--trials", "5"], "--budget and --trials are of a search; add --tune"),
        (["--tune", "--budget", "soon"], "--budget soon is no length of time"),
        (["--tune", "--plot", "a.png"], "--tune measures no lists"),
        (["--tune", "--models"], "--tune measures no lists"),
        (["--parameters", "nowhere.json"], "nowhere.json is not there; make one with `echotune evaluate --tune`"),
        (["--set", "models.ease.dropout=1"], "models.ease.dropout should be at least 0 and less than 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_input_is_one_line(sampled: Settings, words: list[str], message: str) -> None:
    status, out, err = echotune("evaluate", *words)
    assert (status, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert message in err


def test_a_picture_is_drawn_or_its_lack_told_before_anything_is_read(
    sampled: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, begin in (("a.png", b"\x89PNG"), ("b.svg", b"<?xml"), ("c.pdf", b"%PDF")):
        status, _, err = echotune("evaluate", *AS_OF, *QUICK, "--k", "5,10", "--plot", name)
        assert (status, err) == (0, "")
        assert Path(name).read_bytes().startswith(begin)
    monkeypatch.setattr("flows.evaluation_plot.find_spec", lambda _name: None)
    shutil.rmtree(sampled.echotune_home)
    status, _, err = echotune("evaluate", "--plot", "d.png")
    assert (status, len(err.strip().splitlines())) == (2, 1)
    assert "needs matplotlib, which is not installed; run pip install 'echotune-features[notebooks]'" in err
    assert not sampled.echotune_home.exists()


def tuned(home: Path, *words: object) -> Any:
    status, _, err = echotune("evaluate", "--tune", *AS_OF, *QUICK, "--trials", "3", *words)
    assert (status, err) == (0, "")
    return json.loads((home / "parameters.json").read_text())


def without_times(file: Any) -> Any:
    return {**file, "made_at": None, "search": {**file["search"], "seconds": None}}


def test_a_search_writes_what_beat_the_defaults_and_the_same_again_in_another_folder(
    sampled: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = tuned(sampled.echotune_home)
    assert (first["format"], first["version"]) == (1, 1)
    assert first["search"] == first["search"] | {
        "trials": 3,
        "budget_seconds": None,
        "split": "time",
        "holdout_days": 7,
    }
    assert first["as_of"] == END.isoformat()
    models = first["validation"]["models"]
    assert {entry["trials"] for entry in models.values()} == {3}
    won = {name for name, entry in models.items() if entry["after"] > entry["before"]}
    assert set(first["parameters"]["models"]) == won
    assert won
    monkeypatch.setenv("ECHOTUNE_HOME", str(tmp_path / "other"))
    assert without_times(tuned(tmp_path / "other")) == without_times(first)
    assert tuned(tmp_path / "other", "--seed", "9")["parameters"] != first["parameters"]


def test_a_second_search_counts_up_keeps_the_former_file_and_loses_nothing(sampled: Settings) -> None:
    home = sampled.echotune_home
    first = tuned(home)
    text = (home / "parameters.json").read_text()
    second = tuned(home, "--seed", "9")
    assert second["version"] == 2
    assert (home / "parameters.1.json").read_text() == text
    for name, entry in second["validation"]["models"].items():
        assert entry["after"] >= first["validation"]["models"][name]["after"]


def test_a_search_with_a_budget_of_time_ends_and_says_what_it_did(sampled: Settings) -> None:
    status, out, _ = echotune("evaluate", "--tune", *AS_OF, *QUICK, "--budget", "1s")
    assert status == 0
    assert "trials in" in out
    assert "item_knn" in out


def test_a_search_never_looks_at_the_days_that_are_measured(
    settings: Settings, db: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sample = make_sample(SampleSpec(users=60, tracks=100, days=40, seed=3), end=END)
    write_sample(db, sample, home=settings.echotune_home, now=END)
    before = tuned(settings.echotune_home)
    last_week = {"playedAt": {"$gte": END - timedelta(days=7)}}
    users = sorted(db["listening_history"].distinct("userId", {"playedAt": {"$lt": END - timedelta(days=7)}}), key=str)
    changed = 0
    # by other listeners and at other times; what a play says of its track stays, for that bears no date
    for number, document in enumerate(db["listening_history"].find(last_week)):
        at = document["playedAt"] + timedelta(seconds=number % 9)
        other = {"userId": users[number % len(users)], "playedAt": at}
        db["listening_history"].update_one({"_id": document["_id"]}, {"$set": other})
        changed += 1
    assert changed > 100
    monkeypatch.setenv("ECHOTUNE_HOME", str(tmp_path / "other"))
    after = tuned(tmp_path / "other")
    assert after["snapshot"] != before["snapshot"]
    assert without_times({**after, "snapshot": None}) == without_times({**before, "snapshot": None})


def test_where_nobody_can_be_asked_nothing_is_searched(settings: Settings, db: Database) -> None:
    plays = [{"userId": "ann", "trackId": f"t{n}", "playedAt": END - timedelta(days=9 + n)} for n in range(4)]
    db["listening_history"].insert_many(plays)
    status, out, err = echotune("evaluate", "--tune", *AS_OF)
    assert (status, out) == (2, "")
    assert err.startswith("error: nobody can be asked: no user took to five tracks or more before the held-out part")
    assert not (settings.echotune_home / "parameters.json").exists()


def test_where_nobody_can_be_measured_it_says_so(settings: Settings, db: Database) -> None:
    plays = [{"userId": "ann", "trackId": f"t{n}", "playedAt": END - timedelta(days=9 + n)} for n in range(4)]
    db["listening_history"].insert_many(plays)
    status, out, err = echotune("evaluate", *AS_OF)
    assert (status, err) == (0, "")
    assert "1 users: 1 with a history, of whom 0 measured, 0 not drawn and 1 undefined" in out
    assert "nobody can be measured: hold out more days (--holdout-days), or take --split last or --split random" in out


def test_the_file_is_used_by_evaluate_under_what_is_set(sampled: Settings) -> None:
    home = sampled.echotune_home
    plain = told("--strategy", "hybrid")
    file = tuned(home)
    used = told("--strategy", "hybrid")
    assert used["parameter_file"] == 1
    expected = {name: dict(setting) for name, setting in file["parameters"]["models"].items()}
    expected.setdefault("ials", {}).update(iterations=3, dimensions=8)
    assert used["parameters"]["models"] == expected
    assert told("--strategy", "hybrid", "--no-parameter-file") == plain
    copy = home.parent / "mine.json"
    shutil.copyfile(home / "parameters.json", copy)
    (home / "parameters.json").write_text("{")
    assert told("--strategy", "hybrid", "--parameters", copy) == used
    out = echotune("evaluate", *AS_OF, *QUICK, "--parameters", copy)[1]
    assert "parameter file version 1, made 2" in out


@pytest.mark.parametrize(
    "command",
    [["evaluate"], ["evaluate", "--tune"], ["nightly"], ["backfill", "--from", "2026-02-01", "--to", "2026-02-02"]],
)
def test_a_broken_file_is_one_line_for_whoever_would_use_it(sampled: Settings, command: list[str]) -> None:
    sampled.echotune_home.mkdir()
    (sampled.echotune_home / "parameters.json").write_text('{"format": 7}')
    status, out, err = echotune(*command)
    assert (status, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert "parameters.json is no parameter file (format 7, not 1); remove it or put an earlier version in" in err
