"""Spotify's exports of every generation: what becomes a play, what is set aside, and what is never written."""

import codecs
import json
import tempfile
import zipfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from bson import json_util
from commands import echotune
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from features.erasure.files import names
from features.erasure.tombstones import Tombstones, write_tombstone
from features.errors import DatabaseError, InputError
from features.keys import read_key
from features.settings import get_settings
from features.sources import importer, spotify, tables
from features.sources.spotify import SpotifyHistory, import_spotify, play_of, started_at
from features.sources.writing import Outcome

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TRACKS = [f"{n}TrackOf22Characters00"[:22] for n in range(10)]
SECRETS = ("ann-on-spotify", "203.0.113.7", "SecretAgent/1.0", "SecretPhone OS 9", "ZQ-land")
COMMON = {
    "ts": "2021-05-03T18:22:11Z",
    "platform": SECRETS[3],
    "ms_played": 61_000,
    "conn_country": SECRETS[4],
    "master_metadata_track_name": "Dawn",
    "master_metadata_album_artist_name": "Ada",
    "master_metadata_album_album_name": "Sea",
    "spotify_track_uri": f"spotify:track:{TRACKS[0]}",
    "episode_name": None,
    "episode_show_name": None,
    "spotify_episode_uri": None,
    "reason_start": "clickrow",
    "reason_end": "fwdbtn",
    "shuffle": True,
    "skipped": None,
    "offline": False,
    "offline_timestamp": None,
    "incognito_mode": False,
}
OLD = COMMON | {
    "username": SECRETS[0],
    "ip_addr_decrypted": SECRETS[1],
    "user_agent_decrypted": SECRETS[2],
    "offline_timestamp": 0,
}
AUDIOBOOKS = ("audiobook_title", "audiobook_uri", "audiobook_chapter_uri", "audiobook_chapter_title")
NEW = COMMON | {"ip_addr": SECRETS[1], "offline_timestamp": 1_620_066_070} | dict.fromkeys(AUDIOBOOKS)
GENERATIONS = {
    "endsong_0.json": OLD,
    "Streaming_History_Audio_2019-2021_3.json": OLD,
    "Streaming_History_Audio_2021_0.json": NEW,
}
SHORT = {"endTime": "2021-05-03 18:22", "artistName": "Ada", "trackName": "Dawn", "msPlayed": 61_000}
HASH_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
PLACE = {"user_id": "ann", "file": "endsong_0.json"}
EPISODE = {"spotify_track_uri": None, "spotify_episode_uri": "spotify:episode:x", "episode_name": "Pilot"}


def entry(n=0, **changes):
    """An entry of the newest generation, n minutes after the first."""
    ts = datetime.fromisoformat(COMMON["ts"]) + timedelta(minutes=n)
    return NEW | {"ts": f"{ts:%Y-%m-%dT%H:%M:%SZ}"} | changes


def write_folder(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode())
    return folder


def write_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content if isinstance(content, bytes) else json.dumps(content))
    return path


@pytest.fixture
def take(inputs, tmp_path, now):
    """Imports an export for ann, with the sums that must always hold checked."""

    def take(path, user_id="ann", **options):
        totals = import_spotify(inputs, path, user_id, home=tmp_path / "home", now=now, **options)
        assert totals.read == totals.imported + totals.already_there + totals.set_aside
        assert (totals.updated, sum(totals.reasons.values())) == (0, totals.set_aside)
        return totals

    return take


@pytest.fixture
def take_files(take, tmp_path):
    """Imports files written into a folder, or entries written into one file."""

    def take_files(files, **options):
        files = files if isinstance(files, dict) else {"endsong_0.json": files}
        return take(write_folder(tmp_path / "export", files), **options)

    return take_files


def rows_aside(totals):
    return [] if totals.rejected_path is None else pq.read_table(totals.rejected_path).to_pylist()


def plays_of(database):
    return sorted(database.listening_history.find({}, {"importedAt": 0}), key=lambda play: str(play["_id"]))


# --- plays


@pytest.mark.parametrize("name", GENERATIONS)
def test_an_entry_of_each_generation_becomes_the_same_play(name, take_files, inputs, now):
    assert take_files({name: [GENERATIONS[name]]}).imported == 1
    (play,) = inputs.listening_history.find()
    assert str(play.pop("_id")) == "6363037a5147d9f764ec8fa2"  # as first written; another would double the play
    assert play == {
        "userId": "ann",
        "trackId": TRACKS[0],
        "trackName": "Dawn",
        "artistName": "Ada",
        "albumName": "Sea",
        "playedAt": datetime(2021, 5, 3, 18, 21, 10, tzinfo=UTC),
        "playDuration": 61_000,
        "context": {"shuffle": True},
        "importedAt": now,
    }


EXPORT = {
    "MyData/Spotify Extended Streaming History/endsong_1.json": [entry(n) for n in range(3)],
    "MyData/Streaming_History_Audio_2022_0.json": codecs.BOM_UTF8 + json.dumps([entry(3), entry(4)]).encode(),
    "MyData/Streaming_History_Video_2022.json": [entry(9)],
}
OTHER_FILES = {
    "MyData/ReadMeFirst_ExtendedStreamingHistory.pdf": b"%PDF",
    "MyData/Userdata.json": {"username": "x"},
    "MyData/Playlist1.json": {"playlists": []},
    "MyData/my_endsong_0.json": [entry(50)],
    "MyData/endsong_0.json.bak": [entry(51)],
    "__MACOSX/MyData/._endsong_1.json": b"\x00\x05\x16\x07",
}


def test_a_zip_and_its_folder_give_the_same_plays_and_totals(take, inputs, tmp_path):
    folder = take(write_folder(tmp_path / "export", EXPORT | OTHER_FILES))
    assert (folder.read, folder.imported, folder.reasons) == (6, 5, {"a video": 1})
    plays = plays_of(inputs)
    inputs.listening_history.delete_many({})
    packed = take(write_zip(tmp_path / "my_spotify_data.zip", OTHER_FILES | EXPORT))
    assert (packed.read, packed.imported, packed.reasons) == (folder.read, folder.imported, folder.reasons)
    assert plays_of(inputs) == plays
    assert rows_aside(packed) == rows_aside(folder)
    assert {path.name for path in tmp_path.iterdir()} == {"export", "my_spotify_data.zip", "home"}  # none unpacked


@pytest.mark.parametrize("name", ["endsong_0.json", "renamed.json", "ENDSONG_7.JSON"])
def test_one_file_is_an_export_too(name, take, tmp_path):
    write_folder(tmp_path, {name: [entry()]})
    assert take(tmp_path / name).imported == 1


def test_a_zip_packed_with_backslashes_and_no_extension_is_read(take, tmp_path):
    assert take(write_zip(tmp_path / "download", {"MyData\\endsong_0.json": [entry()]})).imported == 1


def test_files_go_in_the_order_of_their_names(take_files):
    files = {f"{folder}/endsong_0.json": [EPISODE | {"ts": folder}] * 2 for folder in "cab"}
    rows = rows_aside(take_files(files))
    assert [row["line"] for row in rows] == [1, 2, 3, 4, 5, 6]
    places = [(row["file"], row["entry"]) for row in (json.loads(row["row"]) for row in rows)]
    assert places == [(f"{folder}/endsong_0.json", n) for folder in "abc" for n in (1, 2)]


def test_the_same_play_in_two_files_is_imported_once_and_counted(take_files, inputs, monkeypatch):
    monkeypatch.setattr(tables, "CHUNK_ROWS", 2)
    files = {
        "endsong_0.json": [entry(n) for n in range(5)],
        "endsong_1.json": [entry(n) for n in range(3, 8)],
        "endsong_2.json": [
            entry(7),
            entry(7, ms_played=60_000),
            entry(7, spotify_track_uri=f"spotify:track:{TRACKS[1]}"),
        ],
    }
    totals = take_files(files)
    assert (totals.read, totals.imported) == (13, 10)
    assert totals.reasons == {"duplicate of an earlier row": 3}
    assert [row["line"] for row in rows_aside(totals)] == [6, 7, 11]
    assert inputs.listening_history.count_documents({}) == 10


def test_importing_twice_adds_nothing_and_another_listener_has_plays_of_their_own(take_files, inputs):
    entries = [entry(n) for n in range(4)] + [entry(9, ts="never")]
    take_files(entries)
    again = take_files(entries)
    assert (again.imported, again.already_there, again.set_aside) == (0, 4, 1)
    assert take_files(entries, user_id="oid:64b000000000000000000001").imported == 4
    assert inputs.listening_history.count_documents({}) == 8


def test_an_import_that_was_cut_off_goes_on_when_it_is_run_again(take_files, inputs, monkeypatch):
    monkeypatch.setattr(tables, "CHUNK_ROWS", 3)
    write, calls = importer.write_documents, []

    def lost_at_the_third(*words):
        calls.append(1)
        if len(calls) == 3:
            raise DatabaseError("lost")
        return write(*words)

    monkeypatch.setattr(importer, "write_documents", lost_at_the_third)
    entries = [entry(n) for n in range(10)]
    with pytest.raises(DatabaseError):
        take_files(entries)
    assert inputs.listening_history.count_documents({}) == 6
    totals = take_files(entries)
    assert (totals.already_there, totals.imported) == (6, 4)


# --- moments and values

ENDED = datetime(2021, 5, 3, 18, 22, 11, tzinfo=UTC)
ON_DEVICE = int((ENDED - timedelta(days=3)).timestamp())


@pytest.mark.parametrize(
    ("offline", "stamp", "seconds_before"),
    [
        (True, ON_DEVICE, 3 * 86_400),
        (True, ON_DEVICE * 1000 + 999, 3 * 86_400),
        (False, ON_DEVICE, 60),
        (None, ON_DEVICE, 60),
        (True, None, 60),
        (True, 0, 60),
        (True, -5, 60),
        (True, 1, 60),
        (True, int((ENDED - timedelta(days=400)).timestamp()), 400 * 86_400),
        (True, int((ENDED - timedelta(days=400)).timestamp()) - 1, 60),
        (True, int(ENDED.timestamp()) - 60, 60),
        (True, int(ENDED.timestamp()) - 61, 61),
        (True, int(ENDED.timestamp()) - 59, 60),  # it would have ended after it was reported
        (True, int(ENDED.timestamp()) + 1, 60),
        (True, 10**30, 60),
    ],
)
def test_a_play_began_when_it_ended_less_its_length_or_offline_when_the_device_says(offline, stamp, seconds_before):
    assert started_at(ENDED, 60_000, offline, stamp) == ENDED - timedelta(seconds=seconds_before)


def test_a_moment_on_the_device_before_2006_is_not_believed():
    ended = datetime(2006, 3, 1, tzinfo=UTC)
    assert started_at(ended, 0, offline=True, offline_timestamp=1_136_073_600) == datetime(2006, 1, 1, tzinfo=UTC)
    assert started_at(ended, 0, offline=True, offline_timestamp=1_136_073_599) == ended


def test_a_play_made_offline_is_known_again_in_an_export_with_seconds_for_milliseconds(take_files):
    old = entry(offline=True, offline_timestamp=ON_DEVICE * 1000 + 417)
    assert take_files({"endsong_0.json": [old]}).imported == 1
    assert take_files({"endsong_0.json": [old | {"offline_timestamp": ON_DEVICE}]}).already_there == 1


@given(
    ended=st.integers(0, 24 * 365 * 86_400).map(lambda seconds: spotify.FIRST + timedelta(days=1, seconds=seconds)),
    play_ms=st.integers(0, 86_400_000),
    offline=st.sampled_from([True, False, None]),
    stamp=st.one_of(st.none(), st.integers(0, 2 * 10**9), st.integers(10**12, 2 * 10**12), st.integers()),
)
def test_no_play_begins_after_it_ended_nor_long_before(ended, play_ms, offline, stamp):
    began = started_at(ended, play_ms, offline, stamp)
    assert timedelta(milliseconds=play_ms) <= ended - began <= max(timedelta(milliseconds=play_ms), timedelta(days=400))
    assert began == ended - timedelta(milliseconds=play_ms) or (offline and began.microsecond == 0)


@pytest.mark.parametrize(
    ("ts", "moment"),
    [
        ("2021-05-03T18:22:11Z", ENDED),
        ("2021-05-03 18:22:11", ENDED),
        ("2021-05-03T18:22:11.9876Z", ENDED.replace(microsecond=987_000)),
        ("2021-05-03T20:22:11+02:00", ENDED),
        ("0001-01-01T00:00:00+14:00", "ts is missing or not a time"),
        ("1969-12-31T23:59:59Z", "ts is missing or not a time"),
        ("1970-01-01T00:00:00Z", "played_at is before 2006"),
        ("2005-12-31T23:59:59Z", "played_at is before 2006"),
        ("2006-01-01T00:00:00Z", datetime(2006, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59-14:00", "ts is missing or not a time"),
        ("soon", "ts is missing or not a time"),
        ("", "ts is missing or not a time"),
        (1_620_066_131, "ts is missing or not a time"),
        (None, "ts is missing or not a time"),
    ],
)
def test_a_ts_is_a_time_in_utc_from_2006_on(ts, moment):
    play = play_of(entry(ts=ts, ms_played=0))
    assert (play if isinstance(play, str) else play.played_at) == moment


@pytest.mark.parametrize("ms_played", [None, -1, "5", 1.5, True, 86_400_001, 10**18])
def test_a_play_of_no_known_length_is_set_aside(ms_played, take_files, inputs):
    totals = take_files([entry(), entry(1, ms_played=ms_played)])
    assert totals.reasons == {"ms_played is missing or not a whole number from 0 to 24 h": 1}
    assert inputs.listening_history.count_documents({}) == 1


@pytest.mark.parametrize(("ms_played", "stored"), [(0, 0), (61_000.0, 61_000), (86_400_000, 86_400_000)])
def test_lengths_from_nothing_to_a_day_are_kept(ms_played, stored, take_files, inputs):
    assert take_files([entry(ms_played=ms_played)]).imported == 1
    assert inputs.listening_history.find_one()["playDuration"] == stored


@pytest.mark.parametrize(
    ("changes", "completion"),
    [
        ({"reason_end": "trackdone"}, 1.0),
        ({"reason_end": "trackdone", "ms_played": 0}, None),
        ({"reason_end": "fwdbtn"}, None),
        ({"reason_end": "fwdbtn", "skipped": True}, None),
        ({"reason_end": None}, None),
        ({"reason_end": {}}, None),
    ],
)
def test_completion_is_known_only_of_a_track_heard_to_its_end(changes, completion, take_files, inputs):
    assert take_files([entry(**changes)]).imported == 1
    assert inputs.listening_history.find_one().get("completionRate") == completion


@pytest.mark.parametrize("value", [None, True, False, "", "true", "false", "fwdbtn", 0, 1])
@pytest.mark.parametrize("name", ["skipped", "offline"])
def test_flags_may_be_null_or_text(name, value, take_files, inputs):
    assert take_files([entry(**{name: value, "offline_timestamp": ON_DEVICE})]).imported == 1
    told_by_device = name == "offline" and value in (True, "true", 1)
    seconds = 3 * 86_400 if told_by_device else 61
    assert inputs.listening_history.find_one()["playedAt"] == ENDED - timedelta(seconds=seconds)


@pytest.mark.parametrize(("value", "context"), [(None, None), (True, True), (False, False), ("", None), ("True", True)])
def test_shuffle_is_kept_where_it_is_known(value, context, take_files, inputs):
    assert take_files([entry(shuffle=value)]).imported == 1
    assert inputs.listening_history.find_one().get("context") == (None if context is None else {"shuffle": context})


def test_entries_without_the_keys_that_may_be_missing_are_plays(take_files, inputs):
    bare = {key: COMMON[key] for key in ("ts", "ms_played", "spotify_track_uri")}
    assert take_files([bare]).imported == 1
    (play,) = inputs.listening_history.find()
    assert set(play) == {"_id", "userId", "trackId", "playedAt", "playDuration", "importedAt"}


# --- set aside


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (EPISODE, "an episode of a podcast"),
        ({"spotify_track_uri": None, "audiobook_uri": "spotify:show:x"}, "an audiobook"),
        (EPISODE | {"audiobook_chapter_uri": "spotify:episode:x"}, "an audiobook"),
        ({"spotify_track_uri": "spotify:local:Ada:Sea:Dawn:61"}, "a local file"),
        ({"spotify_track_uri": "spotify:local::::0"}, "a local file"),
        ({"spotify_track_uri": None}, "neither a track nor an episode"),
        ({"spotify_track_uri": ""}, "neither a track nor an episode"),
        ({"spotify_track_uri": f"spotify:track:{TRACKS[0]}x"}, "spotify_track_uri is not a track's"),
        ({"spotify_track_uri": f"spotify:track:{TRACKS[0]}\n"}, "spotify_track_uri is not a track's"),
        ({"spotify_track_uri": f"spotify:track:{TRACKS[0][:-1]}é"}, "spotify_track_uri is not a track's"),
        ({"spotify_track_uri": f"spotify:album:{TRACKS[0]}"}, "spotify_track_uri is not a track's"),
        ({"spotify_track_uri": 7}, "spotify_track_uri is not a track's"),
        ({"spotify_track_uri": [COMMON["spotify_track_uri"]]}, "spotify_track_uri is not a track's"),
        ({"ts": "2026-11-22T12:06:02Z"}, "played_at is in the future"),
        ({"ts": {"at": COMMON["ts"]}}, "ts is missing or not a time"),
        ({"shuffle": "maybe"}, "shuffle is not true or false"),
        ({"shuffle": []}, "shuffle is not true or false"),
        ({"master_metadata_track_name": ["Dawn"]}, "track_name is not text"),
        ({"master_metadata_track_name": "x" * 10_001}, "track_name is longer than 10,000 characters"),
    ],
)
def test_what_is_no_play_of_a_track_is_set_aside_with_its_reason(changed, reason, take_files, inputs):
    totals = take_files({"endsong_0.json": [entry(), entry(1, **changed), entry(2)]})
    assert (totals.imported, totals.reasons) == (2, {reason: 1})
    (row,) = rows_aside(totals)
    assert row["line"] == 2
    assert json.loads(row["row"]).items() >= (PLACE | {"entry": 2}).items()
    assert "object" not in row["row"]  # what is nested is left out
    assert inputs.listening_history.count_documents({}) == 2


def test_all_in_a_file_of_videos_is_a_video(take_files):
    files = {"Streaming_History_Video_2018-2024.json": [entry(), entry(1, **EPISODE), entry(2, spotify_track_uri=None)]}
    assert take_files(files).reasons == {"a video": 3}


def test_what_is_set_aside_is_counted_by_kind_and_can_be_looked_up(take_files):
    totals = take_files([entry(n, **EPISODE) for n in range(3)] + [entry(5), entry(6, spotify_track_uri=None)])
    assert totals.reasons == {"an episode of a podcast": 3, "neither a track nor an episode": 1}
    assert json.loads(rows_aside(totals)[0]["row"])["episode_name"] == "Pilot"


@pytest.mark.parametrize("name", ["StreamingHistory0.json", "StreamingHistory_music_0.json"])
def test_the_short_history_is_set_aside_and_the_extended_one_asked_for(name, take_files, inputs):
    totals = take_files({name: [SHORT, SHORT | {"msPlayed": 5}]})
    (reason,) = totals.reasons
    assert (totals.set_aside, totals.imported) == (2, 0)
    assert "ask Spotify for the extended streaming history" in reason
    assert json.loads(rows_aside(totals)[0]["row"])["trackName"] == "Dawn"
    assert not inputs.listening_history.count_documents({})


@pytest.mark.parametrize("odd", [None, 1, "x", 1.5, True, [], [1, [2]], [{"ts": "x"}], [[{}], {}]])
def test_an_entry_that_is_no_object_is_set_aside_without_its_content(odd, take_files):
    totals = take_files([entry(), odd, entry(1)])
    assert (totals.imported, totals.reasons) == (2, {"not a JSON object": 1})
    assert json.loads(rows_aside(totals)[0]["row"]) == PLACE | {"entry": 2}


def test_what_is_nested_in_an_entry_is_not_taken_for_the_entry_s_own(take_files, inputs):
    nested = {"more": {"ts": "x", "ms_played": 1, "deep": [{"shuffle": "x"}, ["ts", 5]]}, "list": ["ts", "never"]}
    assert take_files([entry(**nested), nested | entry(1)]).imported == 2
    assert {play["playDuration"] for play in inputs.listening_history.find()} == {61_000}


# --- private


def test_private_sessions_are_left_out_and_only_their_place_is_written(take_files, inputs):
    names = {"master_metadata_track_name": "Hidden Tune", "master_metadata_album_artist_name": "Hidden Band"}
    hidden = [
        entry(n, incognito_mode=mode, spotify_track_uri=f"spotify:track:{TRACKS[7]}", **names)
        for n, mode in enumerate([True, "true", 1, "perhaps", [], {"on": False}])
    ]
    hidden += [entry(7, incognito_mode=True, **names, **EPISODE), entry(8, incognito_mode=True, ts="Hidden")]
    totals = take_files([*hidden, entry(9)])
    assert totals.imported == 1
    assert totals.reasons == {"a private session; --include-private imports those too": 8}
    rows = rows_aside(totals)
    assert [json.loads(row["row"]) for row in rows] == [PLACE | {"entry": n} for n in range(1, 9)]
    assert "Hidden" not in json_util.dumps(inputs.listening_history.find())


def test_private_sessions_are_imported_when_asked_for_and_their_content_is_still_not_set_aside(take_files, inputs):
    private = {"incognito_mode": True}
    entries = [
        entry(1, **private),
        entry(1, **private),  # a duplicate
        entry(2, **private, shuffle="maybe"),
        entry(3, **private, **EPISODE),
        entry(4, **private, ts="never"),
        entry(5, shuffle="maybe"),
    ]
    totals = take_files(entries, include_private=True)
    assert (totals.imported, totals.set_aside) == (1, 5)
    assert "an episode of a podcast" in totals.reasons
    contents = [json.loads(row["row"]) for row in rows_aside(totals)]
    assert contents[:-1] == [PLACE | {"entry": n} for n in range(2, 6)]
    assert contents[-1]["track_name"] == "Dawn"
    assert inputs.listening_history.count_documents({}) == 1


@pytest.mark.parametrize("mode", [None, False, "false", "", 0])
def test_a_session_that_is_not_private_is_imported(mode, take_files):
    assert take_files([entry(incognito_mode=mode)]).imported == 1


def test_names_addresses_devices_and_countries_are_written_nowhere(take_files, inputs, tmp_path, caplog, capsys):
    odd = {"password": SECRETS[0], "nested": {"ip": SECRETS[1]}, "platform_2": SECRETS[3]}
    kinds = [{}, EPISODE, {"ts": "never"}, {"shuffle": "maybe"}, {"incognito_mode": True}, {"ms_played": None}, {}]
    kinds += [{"spotify_track_uri": None}, {"spotify_track_uri": None, "audiobook_uri": "x"}, {"shuffle": [SECRETS[0]]}]
    entries = [*(OLD | NEW | odd | kind for kind in kinds), list(SECRETS), SHORT | odd]
    files = dict.fromkeys(("endsong_0.json", "Streaming_History_Video_1.json"), entries)
    for include_private in (False, True):
        totals = take_files(files, include_private=include_private)
        assert totals.set_aside >= len(entries)
        written = [json_util.dumps(inputs[name].find()) for name in inputs.list_collection_names()]
        written += [json.dumps(rows_aside(totals)), repr(totals), caplog.text, *capsys.readouterr()]
        assert not [secret for secret in SECRETS for text in written if f"{secret}" in text]
    left = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert left == [totals.rejected_path]


def test_the_message_for_a_damaged_file_quotes_nothing_of_it(take_files):
    with pytest.raises(InputError) as error:
        take_files({"endsong_0.json": json.dumps([OLD]).encode().replace(b'"ZQ-land"', b"ZQ-land")})
    assert not [secret for secret in SECRETS if secret in str(error.value)]
    assert error.value.__suppress_context__


# --- exports that can't be used

WHOLE = json.dumps([entry(n) for n in range(3)]).encode()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no streaming history"),
        (OTHER_FILES, "holds no streaming history"),
        ({"endsong_0.json": b""}, "endsong_0.json: not readable as JSON after entry 0"),
        ({"endsong_0.json": []}, "holds no entries; nothing to import"),
        (
            {"endsong_0.json": WHOLE, "endsong_1.json": WHOLE[:-30]},
            "endsong_1.json: not readable as JSON after entry 2",
        ),
        ({"endsong_0.json": WHOLE, "endsong_1.json": WHOLE[:-1]}, "endsong_1.json: not readable as JSON after entry 3"),
        ({"endsong_0.json": WHOLE + b"x"}, "not readable as JSON after entry 3"),
        ({"endsong_0.json": WHOLE + WHOLE}, "not readable as JSON after entry 3"),
        ({"endsong_0.json": WHOLE.replace(b"null", b"NaN")}, "not readable as JSON after entry 0"),
        ({"endsong_0.json": entry()}, "endsong_0.json is not a JSON array of entries"),
        ({"endsong_0.json": {"item": [entry()]}}, "is not a JSON array of entries"),
        ({"endsong_0.json": "text"}, "is not a JSON array of entries"),
        ({"endsong_0.json": 5}, "is not a JSON array of entries"),
        ({"endsong_0.json": [1, 2]}, "endsong_0.json is no streaming history"),
        ({"endsong_0.json": [entry()], "endsong_1.json": [{"a": 1}]}, "endsong_1.json is no streaming history"),
        ({"endsong_0.json": WHOLE.replace(b"Dawn", b"D\xe9wn")}, f"byte {WHOLE.index(b'Dawn') + 2:,}: not UTF-8"),
        ({"endsong_0.json": WHOLE.decode().encode("utf-16")}, "byte 1: not UTF-8"),
        ({"endsong_0.json": [entry(), "x" * 300_000]}, "an entry longer than 64 kB"),
        ({"endsong_0.json": [entry(), ["x"] * 300_000]}, "an entry longer than 64 kB"),
        ({"endsong_0.json": b"[" * 300_000}, "an entry longer than 64 kB"),
        ({"endsong_0.json": b"[" * 60_000}, "not readable as JSON after entry 0"),
        ({"endsong_0.json": b"[" + b"9" * 5_000 + b"]"}, "not readable as JSON after entry 0"),
    ],
)
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_an_export_of_no_use_is_one_line_before_anything_is_written(packed, files, message, take, inputs, tmp_path):
    (tmp_path / "export").mkdir()
    path = write_zip(tmp_path / "export.zip", files) if packed else write_folder(tmp_path / "export", files)
    with pytest.raises(InputError) as error:
        take(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value).replace(str(path), "")) < 220
    assert not inputs.listening_history.count_documents({})
    assert not (tmp_path / "home").exists()


def test_bytes_that_are_no_text_are_found_across_blocks(take_files, monkeypatch, tmp_path):
    monkeypatch.setattr(spotify, "BLOCK_BYTES", 16)
    good = json.dumps([entry(master_metadata_track_name="äöü€😀" * 9)], ensure_ascii=False).encode()
    assert take_files({"endsong_0.json": good}).imported == 1
    at = good.index("€".encode()) + 2
    for blanks in range(16):
        path = write_folder(tmp_path, {"endsong_0.json": b" " * blanks + good[:at] + b"\xff" + good[at:]})
        with pytest.raises(InputError, match=f"byte {blanks + at - 1:,}: not UTF-8"):
            SpotifyHistory(path, "ann")


def test_entries_of_any_length_up_to_the_bound_are_read(take_files):
    long = "x" * 60_000
    totals = take_files([entry(n, episode_name=long) for n in range(20)])
    assert totals.imported == 20


@pytest.mark.parametrize("suffix", ["zip", "json"])
def test_a_path_that_leads_nowhere_is_said_to_be_so(suffix, take, tmp_path):
    with pytest.raises(InputError, match=f"nowhere.{suffix}: no such file or folder; check the path"):
        take(tmp_path / f"nowhere.{suffix}")


def test_a_file_of_another_kind_is_refused(take, tmp_path):
    write_folder(tmp_path, {"export.rar": b"Rar!"})
    with pytest.raises(InputError, match="is neither a zip, nor a folder"):
        take(tmp_path / "export.rar")
    with pytest.raises(InputError, match="is neither a file nor a folder"):
        take(Path("/dev/null"))


def damaged(content, at, value):
    return content[:at] + bytes([content[at] ^ value]) + content[at + 1 :]


def test_a_zip_that_is_cut_short_or_damaged_is_refused(take, inputs, tmp_path):
    path = write_zip(tmp_path / "export.zip", {"endsong_0.json": [entry(n) for n in range(300)]})
    whole = path.read_bytes()
    for content in (b"", b"PK", whole[:-40], whole[: len(whole) // 2], damaged(whole, len(whole) // 2, 255)):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"export.zip.*(not a whole zip file|not readable|not UTF-8)"):
            take(path)
    assert not inputs.listening_history.count_documents({})


def test_a_zip_with_a_password_or_in_an_unknown_packing_is_to_be_unpacked(take, tmp_path):
    path = write_zip(tmp_path / "export.zip", {"endsong_0.json": [entry()]})
    whole = path.read_bytes()
    central = whole.index(b"PK\x01\x02")
    path.write_bytes(damaged(whole, central + 8, 1))
    with pytest.raises(InputError, match="protected by a password; unpack it and name the folder"):
        take(path)
    path.write_bytes(damaged(whole, central + 10, 1))  # deflate becomes deflate64, as Windows packs large folders
    with pytest.raises(InputError, match="can't be read here; unpack it and name the folder"):
        take(path)


@settings(max_examples=200)
@given(st.data())
def test_a_zip_with_any_byte_changed_is_read_whole_or_refused(data):
    files = {"MyDäta/endsong_0.json": [entry(n) for n in range(20)], "ReadMe.pdf": b"x" * 20}
    with tempfile.TemporaryDirectory() as folder:
        path = write_zip(Path(folder) / "export.zip", files)
        whole = path.read_bytes()
        at = data.draw(st.one_of(st.integers(0, len(whole) - 1), st.integers(len(whole) - 200, len(whole) - 1)))
        path.write_bytes(damaged(whole, at, data.draw(st.integers(1, 255))))
        with suppress(InputError):  # anything else is a fault of ours
            assert SpotifyHistory(path, "ann").total == 20


@given(st.integers(0, len(WHOLE) - 1))
def test_a_file_cut_anywhere_is_refused(end):
    with tempfile.TemporaryDirectory() as folder:
        path = write_folder(Path(folder), {"endsong_0.json": WHOLE[:end]})
        with pytest.raises(InputError, match=r"endsong_0\.json: not readable as JSON"):
            SpotifyHistory(path, "ann")


def test_a_file_that_changes_after_it_was_checked_ends_in_one_line_too(tmp_path):
    path = write_folder(tmp_path, {"endsong_0.json": WHOLE}) / "endsong_0.json"
    table = SpotifyHistory(path, "ann")
    path.write_bytes(WHOLE[:-5])
    with pytest.raises(InputError, match="not readable as JSON after entry 2"):
        list(table.chunks())
    path.unlink()
    with pytest.raises(InputError, match="can't be read"):
        list(table.chunks())


@pytest.mark.parametrize("user_id", ["", "  ", "x" * 257, "a\0b", "\udcff"])
def test_a_user_id_that_can_t_be_one_is_refused(user_id, take_files):
    with pytest.raises(InputError, match="--user-id"):
        take_files([entry()], user_id=user_id)


@pytest.mark.parametrize("user_id", ["ann", " ann ", "str:ann"])
def test_nothing_is_kept_of_a_person_who_was_erased(user_id, take_files, inputs, tmp_path, now):
    key = SecretStr(HASH_KEY)
    write_tombstone(inputs, read_key(key, "ECHOTUNE_HASH_KEY"), "ann", now)
    entries = [entry(), entry(1, **EPISODE)]
    with pytest.raises(InputError, match="a person who was erased"):
        take_files(entries, user_id=user_id, hash_key=key)
    assert not (tmp_path / "home").exists()
    assert not inputs.listening_history.count_documents({})
    with pytest.raises(InputError, match="ECHOTUNE_HASH_KEY is not set"):
        take_files(entries, user_id="bob")
    assert take_files(entries, user_id="bob", hash_key=key).imported == 1


def test_every_row_set_aside_names_the_user_so_that_an_erasure_finds_it(take_files):
    entries = [
        entry(),
        entry(),
        entry(1, **EPISODE),
        entry(2, incognito_mode=True),
        entry(3, shuffle="maybe"),
        7,
        SHORT,
    ]
    rows = rows_aside(take_files(entries, user_id=" 12.0"))
    assert len(rows) == 6
    assert all(names(row["row"], frozenset({"12"})) for row in rows)


# --- progress and the command


def test_progress_goes_to_its_total(take_files, monkeypatch):
    monkeypatch.setattr(tables, "CHUNK_ROWS", 2)
    seen = {}

    def note(what, done, total):
        seen.setdefault(what, []).append((done, total))

    files = {f"endsong_{n}.json": [entry(n), entry(n, **EPISODE), entry(n, note="x" * 60_000)] for n in range(40)}
    take_files(files, progress=note)
    assert list(seen) == ["checking the history, MB", "importing plays"]
    checked, imported = seen.values()
    assert checked[0][0] == 0
    assert checked[-1] == (2, 2)
    assert imported[-1] == (120, 120)
    for reports in (checked, imported):
        assert reports == sorted(reports)
        assert len({total for _, total in reports}) == 1


@pytest.fixture
def command(settings):
    return partial(echotune, "import", "spotify")


def test_the_command_prints_totals_and_takes_private_sessions_when_told(command, db, tmp_path):
    path = write_folder(tmp_path / "export", {"endsong_0.json": [entry(), entry(1, incognito_mode=True)]})
    status, out, err = command(path, "--user-id", "ann", "--json")
    assert (status, err) == (0, "")
    (totals,) = json.loads(out)
    assert (totals["what"], totals["read"], totals["imported"], totals["set aside"]) == ("plays", 2, 1, 1)
    assert Path(totals["rejected"]).exists()
    status, out, _ = command(path, "--user-id", "ann", "--include-private")
    assert status == 0
    assert "set aside" in out
    assert db.listening_history.count_documents({"userId": "ann"}) == 2


def test_the_command_says_in_one_line_what_it_needs(command, tmp_path):
    status, _, err = command(tmp_path)
    assert (status, err.count("\n")) == (2, 1)
    assert "--user-id" in err
    status, _, err = command(tmp_path / "nowhere", "--user-id", "ann")
    assert (status, err.count("\n")) == (2, 1)
    assert "no such file or folder" in err


def test_the_command_knows_who_was_erased_by_the_key_of_the_environment(command, db, tmp_path, monkeypatch, now):
    path = write_folder(tmp_path / "export", {"endsong_0.json": [entry()]})
    monkeypatch.setenv("ECHOTUNE_HASH_KEY", HASH_KEY)
    get_settings.cache_clear()
    write_tombstone(db, read_key(SecretStr(HASH_KEY), "ECHOTUNE_HASH_KEY"), "ann", now)
    status, _, err = command(path, "--user-id", "ann")
    assert (status, err.count("\n")) == (2, 1)
    assert "a person who was erased" in err
    assert command(path, "--user-id", "bob")[0] == 0


# --- whatever the entries hold

anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63) + 1, 2**63 - 1), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=4,
)
keys = st.sampled_from([*NEW, *OLD, *SHORT])
good = st.builds(
    entry,
    st.integers(0, 4),
    ms_played=st.sampled_from([0, 61_000]),
    spotify_track_uri=st.sampled_from([f"spotify:track:{track}" for track in TRACKS[:2]]),
    incognito_mode=st.sampled_from([None, False, True]),
)
dirty = st.tuples(good, st.dictionaries(keys, anything, max_size=3)).map(lambda drawn: drawn[0] | drawn[1])
short = st.just(SHORT)
exports = st.dictionaries(
    st.sampled_from(["endsong_0.json", "a/endsong_0.json", "Streaming_History_Video_1.json", "StreamingHistory0.json"]),
    st.lists(st.one_of(good, dirty, short, anything), max_size=8).map(lambda entries: [entry(), *entries]),
    min_size=1,
)


VARIED = {
    "ts": {json.dumps(entry(n)["ts"]) for n in range(5)},
    "ms_played": {"0", "61000"},
    "spotify_track_uri": {json.dumps(f"spotify:track:{track}") for track in TRACKS[:2]},
    "incognito_mode": {"null", "false"},
}


def surely_good(name, drawn):
    """The key of a play by a slow and obvious rule; None for an entry that may be set aside."""
    if not isinstance(drawn, dict) or "Video" in name:
        return None
    if any(json.dumps(drawn.get(key)) not in VARIED.get(key, {json.dumps(NEW[key])}) for key in NEW):
        return None
    ended = datetime.fromisoformat(drawn["ts"])
    return drawn["spotify_track_uri"][14:], ended - timedelta(milliseconds=drawn["ms_played"])


@settings(max_examples=60)
@given(exports, st.booleans())
def test_no_entry_is_lost_whatever_the_entries_hold(files, packed):
    written = []

    def keep(_database, _target, documents, _now):
        written.extend(documents)
        return Outcome(imported=len(documents))

    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patched:
        patched.setattr(importer, "write_documents", keep)
        for module in (importer, spotify):
            patched.setattr(module, "read_tombstones", lambda *_: Tombstones())
        patched.setattr(tables, "CHUNK_ROWS", 3)
        folder = Path(name)
        path = write_zip(folder / "export.zip", files) if packed else write_folder(folder / "export", files)
        totals = import_spotify(None, path, "ann", home=folder / "home", now=NOW)
        aside = rows_aside(totals)
    assert totals.read == sum(map(len, files.values())) == totals.imported + totals.set_aside
    assert len(written) == totals.imported == len({play["_id"] for play in written})
    assert [row["line"] for row in aside] == sorted({row["line"] for row in aside})
    assert len(aside) == totals.set_aside
    found = {(play["trackId"], play["playedAt"].replace(tzinfo=UTC)) for play in written}
    assert {key for name, drawn in files.items() for key in (surely_good(name, one) for one in drawn) if key} <= found
    text = repr(written) + json.dumps(aside)
    assert not [secret for secret in SECRETS if secret in text]
    private = "a private session; --include-private imports those too"
    assert all(set(json.loads(row["row"])) == {"user_id", "file", "entry"} for row in aside if row["reason"] == private)
