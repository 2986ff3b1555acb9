"""What `echotune doctor` looks at: each finding with what was found, its threshold, and what to do."""

import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pymongo.database import Database
from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError

from features.database import UNAUTHORIZED, Document, translated_errors
from features.errors import DatabaseError, NotFoundError, StorageError
from features.release.freshness import (
    LiveRelease,
    NewestPlay,
    lacking_indexes,
    lag,
    live_release,
    newest_import,
    newest_play,
    unfinished_releases,
)
from features.release.manifest import read_manifest, release_folder
from features.schema.collections import COLLECTIONS
from features.schema.plan import plan

Row = dict[str, Any]

GB = 1_000_000_000
HOUR = timedelta(hours=1)
ROOM_FOR_NIGHTS = 2
"""A night writes a new snapshot and a new release beside the old ones; twice that is asked for."""
INDEX_USE_AFTER = timedelta(days=7)
"""A count of accesses that is younger has not met every weekly job."""
SIZED_DOCUMENTS = 200_000
"""The built-in server reads a collection to tell its size; larger ones are not asked."""
SLOW_MS = 100
SHOWN_OPERATIONS = 10
SHAPE_LENGTH = 300
SHAPED = ("filter", "query", "q", "sort", "pipeline", "update", "u", "updates", "deletes")
"""The parts of a command that have a shape worth knowing; comments and documents are left out."""
PATH = re.compile(r"[A-Za-z0-9_$.]+")
NAME = re.compile(r"\$?[A-Za-z_]{1,40}")


@dataclass(frozen=True)
class Thresholds:
    """From where on a finding is not well. GB are of 10^9 bytes."""

    max_age_hours: float = 36
    max_lag_hours: float = 36
    max_set_aside_percent: float = 5
    min_free_gb: float = 2
    max_size_gb: float | None = None


@dataclass(frozen=True)
class Finding:
    """One thing looked at. One that is `ok` and has something to `do` is a note."""

    what: str
    ok: bool
    found: str
    threshold: str = ""
    do: str = ""
    details: Sequence[Row] | None = None

    def to_dict(self) -> Row:
        """For JSON; without `details` where there can be none."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def examine(
    database: Database[Document], home: Path, now: datetime, thresholds: Thresholds = Thresholds()
) -> list[Finding]:
    """Everything but slow operations. Changes nothing, and reads no collection as a whole.

    Args:
        database: where.
        home: `$ECHOTUNE_HOME`.
        now: aware.
        thresholds: from where on a finding is not well.

    Raises:
        DatabaseError: the database can't be asked. A statistic that it refuses is a finding, not an error.
    """
    with translated_errors():
        live, about_releases = _releases(database, home, now, thresholds)
        built_in = "secantusVersion" in database.command("buildInfo")
        return [
            schema_finding(len(plan(database))),
            *about_releases,
            _asked("sizes", lambda: _sizes(database, thresholds, built_in=built_in), needed=thresholds.max_size_gb),
            _space(database, home, live, thresholds),
            _asked("space left, database", lambda: _database_space(database, thresholds, built_in=built_in)),
            _asked("index use", lambda: index_use_finding(_index_use(database), now)),
        ]


def schema_finding(changes: int) -> Finding:
    """Whether collections, validators and indexes are the contract's."""
    found = f"{changes:,} difference{'s' * (changes > 1)}" if changes else "keeps the contract"
    return Finding("schema", not changes, found, "no difference", "run `echotune schema plan`" if changes else "")


# --- releases


def _releases(
    database: Database[Document], home: Path, now: datetime, thresholds: Thresholds
) -> tuple[LiveRelease | None, list[Finding]]:
    unfinished = unfinished_finding(unfinished_releases(database, now))
    try:
        live = live_release(database)
    except NotFoundError as error:
        return None, [Finding("live release", ok=False, found=str(error), do="run `echotune nightly`"), unfinished]
    if live is None:
        return None, [Finding("live release", ok=False, found="none", do="run `echotune nightly`"), unfinished]
    return live, [
        age_finding(live, now, thresholds.max_age_hours),
        _lag(database, live, now, thresholds.max_lag_hours),
        _set_aside(home, live.id, thresholds.max_set_aside_percent),
        unfinished,
    ]


def age_finding(live: LiveRelease, now: datetime, max_hours: float) -> Finding:
    """How long ago the live release was built."""
    hours = (now - live.built_at) / HOUR
    ok = hours <= max_hours
    do = "" if ok else "see why nightly runs failed, and `echotune releases list`"
    return Finding("live release", ok, f"{live.id}, {hours:.1f} h old", f"{max_hours:g} h", do)


def _lag(database: Database[Document], live: LiveRelease, now: datetime, max_hours: float) -> Finding:
    lacking = lacking_indexes(database)
    if lacking:
        found = f"not measured: no index on {' and '.join(lacking)}"
        return Finding("lag", ok=False, found=found, threshold=f"{max_hours:g} h", do="run `echotune schema apply`")
    return lag_finding(live, newest_play(database, now), newest_import(database, live.known_at, now), max_hours)


def lag_finding(live: LiveRelease, play: NewestPlay | None, imported_at: datetime | None, max_hours: float) -> Finding:
    """How far the live release is behind the plays that the database has."""
    hours = lag(live, play, imported_at) / HOUR
    ok = hours <= max_hours
    newest = f"newest play {play.played_at:%Y-%m-%d %H:%M} UTC" if play else "no play"
    do = "" if ok else "run `echotune nightly`; the live release does not know the newest plays"
    return Finding("lag", ok, f"{hours:.1f} h behind, {newest}", f"{max_hours:g} h", do)


def _set_aside(home: Path, release: str, max_percent: float) -> Finding:
    try:
        manifest = read_manifest(home, release)
    except NotFoundError:
        found = "not known here: the release is not on this disk"
        return Finding("set aside", ok=True, found=found, threshold=f"{max_percent:g} %", details=[])
    except StorageError as error:
        do = "build the release again"
        return Finding("set aside", ok=False, found=str(error), threshold=f"{max_percent:g} %", do=do, details=[])
    return set_aside_finding(manifest.inputs, max_percent)


def set_aside_finding(inputs: Mapping[str, Any], max_percent: float) -> Finding:
    """The share of each input that the live release could not use; the largest one counts."""
    rows = [
        {
            "input": name,
            "read": table["read"],
            "set_aside": table["set_aside"],
            "percent": round(100 * table["set_aside"] / table["read"], 2),
            "reasons": "; ".join(f"{count:,} {reason}" for reason, count in list(table["reasons"].items())[:5]),
        }
        for name, table in inputs.items()
        if table["set_aside"]
    ]
    worst = max(inputs.values(), key=_share, default={"read": 0, "set_aside": 0})
    ok = 100 * _share(worst) <= max_percent
    most = f"{len(rows)} inputs, at most {100 * _share(worst):.1f} %"
    do = "" if ok else "mend these documents at their source, or their importer"
    return Finding("set aside", ok, most if rows else "none", f"{max_percent:g} %", do, rows)


def _share(table: Mapping[str, Any]) -> float:
    return float(table["set_aside"] / table["read"]) if table["read"] else 0.0


def unfinished_finding(releases: Sequence[str]) -> Finding:
    """Releases whose run was killed; a note, since the next run clears them up."""
    do = "the next `echotune nightly` goes on with them or removes them" if releases else ""
    return Finding("unfinished releases", ok=True, found=", ".join(releases) or "none", do=do)


# --- sizes and space


def _asked(what: str, ask: Callable[[], Finding], needed: object = None) -> Finding:
    """A statistic, or a note that this server or account doesn't give it; not well if a threshold hangs on it."""
    try:
        return ask()
    except OperationFailure as error:
        if error.code == UNAUTHORIZED:
            found, do = "not shown: this account may not ask", "let one with the role clusterMonitor run this"
        else:
            found, do = f"not reported by this server (code {error.code})", ""
        return Finding(what, ok=needed is None, found=found, do=do, details=[])


def _sizes(database: Database[Document], thresholds: Thresholds, *, built_in: bool) -> Finding:
    present = set(database.list_collection_names())
    names = [collection.name for collection in COLLECTIONS if collection.name in present]
    return sizes_finding([_size(database, name, built_in=built_in) for name in names], thresholds.max_size_gb)


def _size(database: Database[Document], name: str, *, built_in: bool) -> Row:
    """Documents and bytes of a collection, in bytes whatever the server's default scale; a part a shard, summed."""
    parts = [dict(part["storageStats"]) for part in database[name].aggregate([{"$collStats": {"storageStats": {}}}])]
    if built_in:
        if sum(int(part["count"]) for part in parts) > SIZED_DOCUMENTS:
            parts = [{"count": part["count"]} for part in parts]
        else:
            parts = [database.command("collStats", name)]
    return {
        "collection": name,
        "documents": sum(int(part["count"]) for part in parts),
        "data_bytes": _bytes(parts, "size"),
        "stored_bytes": _bytes(parts, "storageSize"),
        "index_bytes": _bytes(parts, "totalIndexSize"),
    }


def _bytes(parts: Sequence[Mapping[str, Any]], field: str) -> int | None:
    if any(field not in part for part in parts):
        return None
    return sum(int(part[field]) * int(part.get("scaleFactor", 1)) for part in parts)


def sizes_finding(rows: Sequence[Row], max_gb: float | None) -> Finding:
    """Documents and bytes; what is stored and its indexes are held against the threshold, if there is one."""
    known = [row["stored_bytes"] + row["index_bytes"] for row in rows if row["data_bytes"] is not None]
    total = sum(known)
    documents = sum(row["documents"] for row in rows)
    at_least = "" if len(known) == len(rows) else "at least "
    ok = max_gb is None or total <= max_gb * GB
    return Finding(
        "sizes",
        ok,
        f"{documents:,} documents, {at_least}{in_units(total)} stored",
        "" if max_gb is None else f"{max_gb:g} GB",
        "" if ok else "remove what is no longer needed, or make room and raise --max-size-gb",
        rows,
    )


def _space(database: Database[Document], home: Path, live: LiveRelease | None, thresholds: Thresholds) -> Finding:
    folders = [home / "snapshot" / database.name, *([release_folder(home, live.id)] if live else [])]
    what = "space left, ECHOTUNE_HOME"
    try:
        there = next(path for path in (home.resolve(), *home.resolve().parents) if path.is_dir())
        free, taken = shutil.disk_usage(there).free, sum(map(bytes_in, folders))
    except OSError as error:
        found = f"{home} can't be read ({error.strerror})"
        return Finding(what, ok=False, found=found, do="check the disk and ECHOTUNE_HOME")
    return space_finding(what, free, thresholds.min_free_gb, taken)


def bytes_in(folder: Path) -> int:
    """Bytes of all files under a folder; 0 when it is not there. A file that goes meanwhile doesn't count."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def space_finding(what: str, free: int, min_gb: float, taken: int = 0) -> Finding:
    """Bytes free, against the larger of a minimum and twice what the last snapshot and release take."""
    wanted = max(min_gb * GB, ROOM_FOR_NIGHTS * taken)
    ok = free >= wanted
    last = f", last snapshot and release {in_units(taken)}" if taken else ""
    do = "" if ok else "make room: old folders under releases/ can go, the live one and the one before it stay"
    return Finding(what, ok, f"{in_units(free)} free{last}", in_units(wanted), do)


def _database_space(database: Database[Document], thresholds: Thresholds, *, built_in: bool) -> Finding:
    # the built-in server reads every document to answer, and then has nothing to say of its disk
    found: Mapping[str, Any] = {} if built_in else database.command("dbStats")
    return database_space_finding(found, thresholds.min_free_gb)


def database_space_finding(stats: Mapping[str, Any], min_gb: float) -> Finding:
    """Bytes free on the database's disk, where `dbStats` tells of it."""
    what = "space left, database"
    if "fsTotalSize" not in stats or "fsUsedSize" not in stats:
        return Finding(what, ok=True, found="not reported by this server")
    scale = int(stats.get("scaleFactor", 1))
    finding = space_finding(what, int(stats["fsTotalSize"] - stats["fsUsedSize"]) * scale, min_gb)
    do = "" if finding.ok else "make room on the database's disk"
    return Finding(what, finding.ok, finding.found, finding.threshold, do)


def in_units(amount: float) -> str:
    """Bytes for a person: B, kB, MB, GB by thousands.

    >>> in_units(999), in_units(1_500_000), in_units(2_000_000_000_000)
    ('999 B', '1.5 MB', '2,000.0 GB')
    """
    if amount < 1000:
        return f"{amount:.0f} B"
    for unit in ("kB", "MB"):
        amount /= 1000
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1000:,.1f} GB"


# --- indexes


def _index_use(database: Database[Document]) -> list[tuple[str, Mapping[str, Any]]]:
    present = set(database.list_collection_names())
    return [
        (collection.name, entry)
        for collection in COLLECTIONS
        if collection.name in present
        for entry in database[collection.name].aggregate([{"$indexStats": {}}])
    ]


def index_use_finding(entries: Iterable[tuple[str, Mapping[str, Any]]], now: datetime) -> Finding:
    """Indexes that no query has asked for since the server counts; a note, whatever it finds.

    Left out are those that work without being asked: of `_id`, unique, and with a time to live. An index counts
    from the server's start or its own making; one that is younger than a week, or of a server on which no index at
    all was asked for, says nothing.

    Args:
        entries: collection and what `$indexStats` says, once a server that holds a part.
        now: aware.
    """
    asked: Counter[tuple[str, str]] = Counter()
    since: dict[tuple[str, str], datetime] = {}
    working: set[tuple[str, str]] = set()
    for collection, entry in entries:
        index = (collection, str(entry["name"]))
        asked[index] += int(entry["accesses"]["ops"])
        if isinstance(begun := entry["accesses"]["since"], datetime):
            since[index] = max(begun, since.get(index, begun))
        spec = entry.get("spec", {})
        if spec.get("unique") or "expireAfterSeconds" in spec or index[1] == "_id_":
            working.add(index)
    contract = {(collection.name, index.name): index for collection in COLLECTIONS for index in collection.indexes}
    working |= {name for name, index in contract.items() if index.unique or index.ttl_seconds is not None}
    if not since or not asked.total():
        return Finding("index use", ok=True, found="not counted by this server", details=[])
    judged = [index for index in asked if index in since and now - since[index] >= INDEX_USE_AFTER]
    if not judged:
        days = max((now - begun) / timedelta(days=1) for begun in since.values())
        found = f"counted for {days:.1f} days, which is too short to tell"
        return Finding("index use", ok=True, found=found, threshold=f"{INDEX_USE_AFTER.days} days", details=[])
    rows = [
        {"collection": index[0], "index": index[1], "in_contract": index in contract, "since": since[index]}
        for index in judged
        if not asked[index] and index not in working
    ]
    do = "one outside the contract can go if no application needs it; those of the contract stay" if rows else ""
    found = f"{len(rows)} of {len(judged)} not asked for"
    return Finding("index use", ok=True, found=found, threshold=f"{INDEX_USE_AFTER.days} days", do=do, details=rows)


# --- slow operations


def slow_operations(
    database: Database[Document], seconds: float, wait: Callable[[float], None] = time.sleep, slow_ms: int = SLOW_MS
) -> Finding:
    """The slowest operations that the server finishes in the coming seconds, by its profiler.

    A profiler that is on already is left as it is, and what it records is read: then nothing has to be put back,
    and two who look at the same time can't leave it on.

    Args:
        database: whose operations.
        seconds: for how long to wait.
        wait: waits.
        slow_ms: from how many milliseconds on an operation is slow.

    Raises:
        DatabaseError: the profiler could not be switched back; says how to do it by hand.
    """
    with translated_errors():
        try:
            with profiling(database, slow_ms) as (former, start):
                wait(seconds)
            recorded = database["system.profile"]
            own = {"$ne": f"{database.name}.{recorded.name}"}
            query = {"ts": {"$gte": start}, "millis": {"$gte": slow_ms}, "ns": own}
            count = recorded.count_documents(query)
            slowest = list(recorded.find(query).sort("millis", -1).limit(SHOWN_OPERATIONS))
        except OperationFailure as error:
            return _not_recorded(error)
    rows = [operation_row(entry) for entry in slowest]
    return slow_operations_finding(rows, count, seconds, slow_ms, _limits(former, slow_ms))


def _not_recorded(error: OperationFailure) -> Finding:
    if error.code == UNAUTHORIZED:
        found, do = "not recorded: this account may not profile", "use one with the role dbAdmin, or no --slow-ops"
    else:
        found, do = f"not recorded: this server refuses (code {error.code})", "leave --slow-ops out"
    return Finding("slow operations", ok=False, found=found, do=do, details=[])


@contextmanager
def profiling(database: Database[Document], slow_ms: int) -> Iterator[tuple[Row, datetime]]:
    """The profiler at level 1 for the block, then at the level, slowms and sample rate from before, come what may.

    Yields what `profile: -1` told of it before, and the moment of the start by the server's clock. Where it was on
    already, it is left as it is.

    Raises:
        DatabaseError: it could not be switched back.
    """
    former = dict(database.command("profile", -1))
    start = database.command("hello", codec_options=database.codec_options)["localTime"]
    if former["was"] != 0:
        yield former, start
        return
    refused = False
    try:
        try:
            database.command("profile", 1, slowms=slow_ms, sampleRate=1.0)
        except OperationFailure:
            refused = True
            raise
        yield former, start
    finally:
        if not refused:
            _switch_back(database, former)


def _switch_back(database: Database[Document], former: Mapping[str, Any]) -> None:
    settings = {name: former[name] for name in ("slowms", "sampleRate") if name in former}
    try:
        try:
            database.command("profile", former["was"], **settings)
        except AutoReconnect:  # an idle connection may have been cut; the driver makes a new one
            database.command("profile", former["was"], **settings)
    except PyMongoError as error:
        options = ", ".join(f"{name}: {value}" for name, value in settings.items())
        raise DatabaseError(
            f"the profiler of database {database.name} could not be switched back; do it in mongosh with "
            f"db.setProfilingLevel({former['was']}, {{{options}}})"
        ) from error


def _limits(former: Mapping[str, Any], slow_ms: int) -> str:
    """What the profiler may have left out because of how others have set it."""
    if former["was"] != 0:
        from_ms = "" if former["was"] == 2 else f" from {max(former['slowms'], slow_ms)} ms"
        return f"; the profiler was on already, level {former['was']}{from_ms}"
    return "; only what the server's own profiling filter lets through" if "filter" in former else ""


def slow_operations_finding(rows: Sequence[Row], count: int, seconds: float, slow_ms: int, limits: str) -> Finding:
    """How many operations were slow; one is enough not to be well."""
    slowest = f", the slowest {max(row['millis'] for row in rows):,} ms" if rows else ""
    do = "see which index serves these, or ask for less at once" if count else ""
    found = f"{count:,} in {seconds:g} s{slowest}{limits}"
    return Finding("slow operations", not count, found, f"none of {slow_ms} ms or more", do, rows)


def operation_row(entry: Mapping[str, Any]) -> Row:
    """One entry of `system.profile` without any value that it holds: time, kind, where, plan, shape."""
    command = entry.get("originatingCommand") or entry.get("command") or {}
    return {
        "millis": int(entry["millis"]),
        "op": str(entry.get("op", "")),
        "ns": str(entry.get("ns", "")),
        "plan": str(entry.get("planSummary", "")),
        "shape": command_shape(command)[:SHAPE_LENGTH],
    }


def command_shape(command: Mapping[str, Any]) -> str:
    """A command's name and the shapes of what it asks for.

    >>> command_shape({"find": "users", "filter": {"name": "Ann", "age": {"$gt": 5}}, "comment": "for Bob"})
    'find filter {name: ?, age: {$gt: ?}}'
    """
    name = next(iter(command), "")
    # a write of MongoDB's own profiler is {q, u, multi, upsert}, without the command's name
    verb = [_name_shape(str(name))] if name and not isinstance(command[name], Mapping | list) else []
    parts = [part for part in SHAPED if isinstance(command.get(part), Mapping | list)]
    return " ".join([*verb, *(f"{part} {shape(command[part])}" for part in parts)])


def shape(value: Any) -> str:
    """A query's field names and operators; every value is a question mark, and equal shapes in a list are one.

    >>> shape({"$or": [{"a.b": 1}, {"a.b": "x"}, {"c": {"$in": [1, 2]}}]})
    '{$or: [{a.b: ?}, {c: {$in: [?]}}]}'
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_name_shape(str(name))}: {shape(content)}" for name, content in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(dict.fromkeys(shape(item) for item in value)) + "]"
    return "?"


def _name_shape(name: str) -> str:
    """A field's path; a part with a digit may be an id used as a key, and what is no path at all an address."""
    if not PATH.fullmatch(name):
        return "?"
    return ".".join(part if NAME.fullmatch(part) else "?" for part in name.split("."))
