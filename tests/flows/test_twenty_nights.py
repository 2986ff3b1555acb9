"""Twenty nights in a row: late plays, new listeners, erased ones, one night that the gate stops; and nothing grows."""

import base64
import gc
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from commands import echotune
from pydantic import SecretStr
from pymongo import ReplaceOne
from pymongo.database import Database

from features.erasure.erase import erase
from features.erasure.traces import find_traces
from features.errors import GateError
from features.parameters import NightlyParameters
from features.release import retention
from features.release.store import FeatureStore
from features.schema import plan
from features.schema.ids import UserId, decode_id
from features.settings import Settings, get_settings
from features.snapshot.take import SAFETY_LAG
from features.sources.sample import Sample, SampleSpec, make_sample, write_sample
from flows import nightly as module
from flows.nightly import Result, nightly

pytestmark = [
    pytest.mark.usefixtures("prefect"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Prefect's and its server's own
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]
DAY, HOUR, MINUTE, MS = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1), timedelta(milliseconds=1)
NIGHTS, SETTLED = 20, 8
KEPT = 3
END = datetime(2026, 3, 1, tzinfo=UTC)
NIGHT = {number: END - (NIGHTS - number) * DAY + 3 * HOUR for number in range(1, NIGHTS + 1)}
"""When each begins; the last one just after the sample's end."""
BAD_NIGHT, BAD_CHECK = 6, "no more is missing than usual"
READER = "listener-0001"
ERASED_BEFORE = {5: 17, 14: 31}
"""Which listener is erased before which night: one before the bad night, one when its release lies on disk."""
JOINS = {3: 3, 9: 7, 21: 10, 27: 12, 40: 15, 52: 18}
"""In which night listeners come who bring the history of years: their plays are weeks old."""
PARAMETERS = NightlyParameters.model_validate(
    {
        "embeddings": {"dimensions": 12, "content_dimensions": 24},
        "profiles": {"top_genres": 6},
        "similarity": {"k": 8},
        "recommendations": {"k": 8},
        "evaluation": {"k": 8},
        "gate": {"min_rows": 300, "min_entities": 40},
    }
)
KEY = SecretStr(base64.b64encode(bytes(32)).decode())


@dataclass(frozen=True)
class Arrivals:
    """The sample, and by which night each row is there; by the first, the history so far."""

    sample: Sample
    plays: np.ndarray
    feedback: np.ndarray
    users: np.ndarray

    def of(self, night: int) -> Sample:
        """What comes in between the night before and this one."""
        tracks = self.sample.tracks
        return Sample(
            self.sample.plays.filter(pa.array(self.plays == night)),
            self.sample.feedback.filter(pa.array(self.feedback == night)),
            tracks if night == 1 else tracks.slice(0, 0),
            self.sample.users.filter(pa.array(self.users == night)),
        )


def milliseconds(moments: pa.ChunkedArray) -> np.ndarray:
    return moments.cast(pa.int64()).to_numpy()


def night_after(moments: np.ndarray) -> np.ndarray:
    """The first night that begins at a moment, in ms, or after it."""
    return np.searchsorted([moment.timestamp() * 1000 for moment in NIGHT.values()], moments) + 1


def make_arrivals() -> Arrivals:
    """Plays are imported in the night after, days or weeks later, or when their listener joins.

    Imports run from two to four, through the moment at which a night begins: what they stamp shortly before it may
    come in after it, within the safety lag, and what they stamp after it may be there already.
    """
    sample = make_sample(SampleSpec(users=60, tracks=200, days=40, seed=11), end=END)
    rng = np.random.default_rng(11)
    users = sample.users["user_id"].combine_chunks()
    joins = np.ones(len(users), dtype=int)
    joins[list(JOINS)] = list(JOINS.values())

    def joined(table: pa.Table) -> np.ndarray:
        return joins[pc.index_in(table["user_id"], users).to_numpy()]

    size = sample.plays.num_rows
    weeks_late = np.where(rng.random(size) < 0.05, rng.integers(7, 28, size), 0)
    opens = np.array([0, 0, *[(moment - HOUR).timestamp() * 1000 for moment in NIGHT.values()][1:]], dtype=np.int64)
    stamped = np.maximum(
        milliseconds(sample.plays["imported_at"]) + weeks_late * (DAY // MS), opens[joined(sample.plays)]
    )
    stamped += rng.integers(0, 2 * HOUR // MS, size)
    written = stamped + rng.integers(-30 * MINUTE // MS, (SAFETY_LAG - MINUTE) // MS, size)
    assert {-1, 1} <= set(night_after(written) - night_after(stamped))
    column = sample.plays.column_names.index("imported_at")
    plays = sample.plays.set_column(column, "imported_at", pa.array(stamped, pa.timestamp("ms", tz="UTC")))
    said = night_after(milliseconds(sample.feedback["created_at"]))
    return Arrivals(
        Sample(plays, sample.feedback, sample.tracks, sample.users),
        night_after(written),
        np.maximum(said, joined(sample.feedback)),
        joins,
    )


@dataclass(frozen=True)
class Traces:
    """What a good night left behind."""

    release: str
    plays: int
    folders: dict[str, int]
    """Bytes under each folder of the home."""
    snapshot_files: int
    documents: dict[str, int]
    """Not expired, by collection: the server removes the others, once a minute."""
    objects: int
    """Of this process, that the collector knows."""
    peak: int
    """Of its memory, in the system's unit."""


class Nights:
    """The nights of a world, one after the other."""

    def __init__(self, db: Database, home: Path, patch: pytest.MonkeyPatch) -> None:
        self.db, self.home, self.patch = db, home, patch
        self.arrivals = make_arrivals()
        self.left: dict[int, Traces] = {}

    def begin(self, number: int) -> None:
        """Sets the clock; imports and changes that are there by then are written."""
        self.patch.setattr(module, "now", lambda: NIGHT[number])
        self.write(self.arrivals.of(number), NIGHT[number])
        track = {"spotifyId": self.arrivals.sample.tracks["track_id"][number].as_py()}
        self.db["tracks"].update_one(track, {"$set": {"name": f"Renamed {number}", "popularity": number}})
        opinions = [found["_id"] for found in self.db["user_feedback"].find({}, {"_id": 1}).sort("_id", 1).limit(2)]
        self.db["user_feedback"].delete_one({"_id": opinions[0]})
        self.db["user_feedback"].update_one({"_id": opinions[1]}, {"$set": {"signal": "dislike"}})

    def write(self, rows: Sample, moment: datetime) -> None:
        """As imports do; those at work at the moment may have stamped their documents hours ahead."""
        write_sample(self.db, rows, home=self.home, now=moment + 3 * HOUR, hash_key=KEY)

    def erase(self, listener: int, moment: datetime) -> UserId:
        """Erases one of the sample's listeners, of whose plays some will still be offered."""
        user = decode_id(self.arrivals.sample.users["user_id"][listener].as_py())
        erase(self.db, self.home, KEY, user, moment)
        return user

    def good(self, number: int) -> None:
        """A night whose release readers follow afterwards; who reads on is told the same as before."""
        former = FeatureStore(self.db) if self.left else None
        told = former and former.profile(READER)
        self.begin(number)
        result = nightly(parameters=PARAMETERS)
        assert (result.published, result.taken.notes) == (True, [])
        assert FeatureStore(self.db).release == result.release
        assert result.counts["plays"] == known_plays(self.db, NIGHT[number])
        assert result.release.startswith(f"{NIGHT[number]:%Y-%m-%d}-")
        if former:
            np.testing.assert_equal(former.profile(READER), told)
        self.left[number] = self.look(result)

    def bad(self, number: int) -> None:
        """A night after an import that lost the audio features and genres, which is mended by day."""
        live = FeatureStore(self.db).release
        self.begin(number)
        whole = list(self.db["tracks"].find())
        self.db["tracks"].update_many({}, {"$set": {"artists.$[].genres": []}, "$unset": {"audioFeatures": ""}})
        with pytest.raises(GateError, match=f"first: {BAD_CHECK}"):
            nightly(parameters=PARAMETERS)
        assert FeatureStore(self.db).release == live
        self.db["tracks"].bulk_write([ReplaceOne({"_id": track["_id"]}, track) for track in whole])

    def look(self, result: Result) -> Traces:
        gc.collect()
        unexpired = {"expiresAt": {"$gt": datetime.now(UTC)}}
        return Traces(
            result.release,
            result.counts["plays"],
            {top.name: sum(size for _, size in files_under(top)) for top in sorted(self.home.iterdir())},
            sum(name.endswith(".parquet") for name, _ in files_under(self.home / "snapshot")),
            {name: self.db[name].count_documents(unexpired) for name in ("feature_store", "recommendations")},
            len(gc.get_objects()),
            getrusage(RUSAGE_SELF).ru_maxrss,
        )


def files_under(folder: Path) -> list[tuple[str, int]]:
    return [(path.name, path.stat().st_size) for path in folder.rglob("*") if path.is_file()]


def known_plays(db: Database, moment: datetime) -> int:
    """Plays known by a moment, document by document."""
    plays = db["listening_history"].find()
    return sum((play.get("importedAt") or play.get("createdAt") or play["playedAt"]) <= moment for play in plays)


@pytest.fixture
def nights(settings: Settings, db: Database, monkeypatch: pytest.MonkeyPatch) -> Nights:
    monkeypatch.setenv("ECHOTUNE_HASH_KEY", KEY.get_secret_value())
    get_settings.cache_clear()
    # the nights are seconds apart here, in which an hour of a reader's never passes
    monkeypatch.setattr(retention, "PIN_LIFE", timedelta(0))
    plan.apply(db)
    return Nights(db, settings.echotune_home, monkeypatch)


def test_twenty_nights_in_a_row_leave_nothing_behind_but_their_story(nights: Nights) -> None:
    erased = []
    for number, moment in NIGHT.items():
        if number in ERASED_BEFORE:
            erased.append(nights.erase(ERASED_BEFORE[number], moment))
        if number == BAD_NIGHT:
            nights.bad(number)
        else:
            nights.good(number)
    assert_nothing_grows(nights.left)
    assert_the_list_tells(nights)
    assert [find_traces(nights.db, nights.home, user) for user in erased] == [[], []]


def assert_nothing_grows(left: dict[int, Traces]) -> None:
    """From the night on by which all kept releases are there. The history does grow, and its snapshot with it."""
    settled = left[SETTLED]
    for traces in (left[number] for number in left if number > SETTLED):
        history = traces.plays / settled.plays
        assert history > 1
        for name, size in traces.folders.items():
            bound = 1.3 * history if name == "snapshot" else 1.3
            assert size <= bound * settled.folders[name] + 1000, (name, traces)
        for name, count in traces.documents.items():
            assert count <= 1.3 * settled.documents[name], traces
        assert traces.snapshot_files <= 16, traces
        assert traces.objects <= 1.03 * settled.objects, traces
        assert traces.peak <= 1.2 * settled.peak, traces


def assert_the_list_tells(nights: Nights) -> None:
    """Twenty releases, newest first, and what became of each; the database serves those that are kept."""
    status, told, _ = echotune("releases", "list", "--json")
    rows = json.loads(told)
    assert (status, len(rows)) == (0, NIGHTS)
    fates = ["live", *["retired"] * (KEPT - 1), *["expired"] * (NIGHTS - KEPT)]
    fates[NIGHTS - BAD_NIGHT] = f"failed: {BAD_CHECK}"
    assert [row["state"] for row in rows] == fates
    assert [row["on disk"] for row in rows] == [fate != "expired" for fate in fates]
    assert [row["release"][:10] for row in rows] == [f"{NIGHT[NIGHTS - n]:%Y-%m-%d}" for n in range(NIGHTS)]
    published = [row["release"] for row in rows if not row["state"].startswith("failed")]
    assert published == [nights.left[number].release for number in sorted(nights.left, reverse=True)]
    unexpired = {"expiresAt": {"$gt": datetime.now(UTC)}}
    assert set(nights.db["recommendations"].distinct("release", unexpired)) == set(published[:KEPT])
    assert set(nights.db["feature_store"].distinct("features.version", unexpired)) == set(published[:KEPT])
