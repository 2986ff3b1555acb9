"""Whole files: formats that agree, errors before anything is written, and the exact line of a faulty row."""

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import InputError
from features.sources import tables
from features.sources.importer import parse_mapping

IDS = [
    "260f753ec3b0df552a011d73",
    "91bc116f9c8d19d55a86ba0b",
    "9ba61437dcfaa2d27138ec7d",
]  # as they were first written; another id for the same play would double it
HEADER = "user_id,track_id,played_at\n"
ROWS = [
    {"user_id": "ann", "track_id": "t1", "played_at": "2026-11-01T10:00:00Z", "play_ms": 1000, "shuffle": True},
    {"user_id": "7", "track_id": "t,2", "played_at": "2026-11-01T11:00:00Z", "play_ms": None, "shuffle": None},
    {
        "user_id": "oid:64b000000000000000000001",
        "track_id": 't"3',
        "played_at": "2026-11-01",
        "play_ms": 5,
        "shuffle": False,
    },
]


def delimited(sign: str) -> str:
    def quoted(value: object) -> str:
        text = "" if value is None else str(value)
        return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\t') else text

    lines = [list(ROWS[0]), *(row.values() for row in ROWS)]
    return "".join(sign.join(map(quoted, line)) + "\r\n" for line in lines)


@pytest.mark.parametrize(
    "name", ["a.csv", "a.tsv", "a.jsonl", "a.ndjson", "a.parquet", "A.CSV", "a.csv.gz", "a.jsonl.gz", "bom.csv"]
)
def test_the_same_rows_give_the_same_documents_in_every_format(name, write, run, inputs, now):
    stem = name.lower().removesuffix(".gz")
    content = ROWS if stem.endswith(("jsonl", "ndjson", "parquet")) else delimited("\t" if "tsv" in stem else ",")
    if name == "bom.csv":
        content = "\ufeff" + content
    assert run("plays", write(name, content)).imported == 3
    found = {play["trackId"]: play for play in inputs.listening_history.find()}
    assert set(found) == {"t1", "t,2", 't"3'}
    assert found["t1"] | {"_id": 0} == {
        "_id": 0,
        "userId": "ann",
        "trackId": "t1",
        "playedAt": now.replace(day=1, hour=10),
        "playDuration": 1000,
        "context": {"shuffle": True},
        "importedAt": now,
    }
    assert "context" not in found["t,2"]
    assert str(found['t"3']["userId"]) == "64b000000000000000000001"
    assert sorted(str(play["_id"]) for play in found.values()) == IDS


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", "x", "no format known by the extension '.xlsx'; convert it to one of .parquet, .csv"),
        ("noextension", "x", "no format known by the extension ''"),
        ("a.parquet.gz", "x", "no format known"),
        ("a.csv", "", "holds no rows; it needs a header line"),
        ("a.csv", HEADER, "holds no rows; it needs a header line"),
        ("a.csv", HEADER + "\n \n", "holds no rows"),
        ("a.jsonl", "\n\n", "holds no rows; it needs one JSON object a line"),
        ("a.jsonl", "[1]\n", "holds no JSON object"),
        ("a.parquet", "not one", "is not a whole Parquet file"),
        ("a.csv", HEADER.encode() + b"ann,t1,2026-11-01\nb\xe9a,t1,2026-11-01\n", "line 3 (byte 47): not UTF-8"),
        ("a.csv", HEADER.encode() + b"ann,t1,2026-11-01\nb\xc3", "line 3: ends inside a character"),
        (
            "a.csv",
            "user_id,item,played_at\nann,t1,2026-11-01\n",
            "no column track_id, which plays need; the file has user_id, item, played_at; use --map theirs=track_id",
        ),
        ("a.csv", "user_id,trackid,played_at\nann,t1,2026-11-01\n", "use --map trackid=track_id"),
        ("a.csv", "user_id;track_id;played_at\nann;t1;2026-11-01\n", "separated by another sign"),
        (
            "a.csv",
            "user_id,track_id,played_at,playms\nann,t1,2026-11-01,1\n",
            "unknown column playms (is it 'play_ms'?); name what it is with --map playms=ours, or leave it out",
        ),
        ("a.csv", ",user_id,track_id,played_at\n0,ann,t1,2026-11-01\n", "unknown column column 1"),
        ("a.csv", "user_id,track_id,played_at,user_id\na,b,c,d\n", "the column 'user_id' is there twice"),
        ("a.csv", '"user_id,track_id,played_at\nann,t1,2026-11-01\n', "the header line can't be read"),
        ("a.csv.gz", b"", "holds no rows"),
        ("a.jsonl", "[" + "1," * (9 << 20), "line 1: longer than 16 MB; write one row a line"),
    ],
)
def test_a_file_that_is_useless_as_a_whole_is_one_line_before_anything_is_written(
    name, content, message, write, run, inputs
):
    with pytest.raises(InputError) as error:
        run("plays", write(name, content))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert name in str(error.value)
    assert not inputs.listening_history.count_documents({})


def test_a_folder_and_a_file_that_is_not_there_are_said_to_be_so(tmp_path, run):
    with pytest.raises(InputError, match="is a folder"):
        run("plays", tmp_path)
    with pytest.raises(InputError, match="no such file"):
        run("plays", tmp_path / "plays.csv")


def test_a_parquet_file_damaged_in_its_last_pages_is_found_before_the_first_row_is_written(tmp_path, run, inputs):
    path = tmp_path / "plays.parquet"
    table = pa.table(
        {"user_id": [f"u{i}" for i in range(4000)], "track_id": ["t"] * 4000, "played_at": [1_700_000_000] * 4000}
    )
    pq.write_table(table, path, row_group_size=1000, compression="zstd", use_dictionary=False)
    damaged = bytearray(path.read_bytes())
    offset = pq.ParquetFile(path).metadata.row_group(3).column(0).data_page_offset
    damaged[offset : offset + 60] = bytes(60)
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="not a whole Parquet file"):
        run("plays", path)
    assert not inputs.listening_history.count_documents({})


def test_a_gzip_file_that_is_cut_short_is_refused(write, run):
    path = write("a.csv.gz", HEADER + "ann,t1,2026-11-01\n" * 100)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(InputError, match="not a whole gzip file"):
        run("plays", path)


def test_columns_are_mapped_and_left_out(write, run, inputs):
    path = write("a.csv", "listener,item,when,note\nann,t1,2026-11-01,x\n")
    mapping = parse_mapping(["listener=user_id", "item = track_id", "when=played_at", "note=-"])
    assert run("plays", path, mapping=mapping).imported == 1
    assert inputs.listening_history.find_one()["userId"] == "ann"


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"itme": "track_id"}, "has no column 'itme' (is it 'item'?); it has user_id, item, track_id, played_at"),
        ({"item": "trackid"}, "plays have no column 'trackid' (is it 'track_id'?)"),
        ({"item": "track_id"}, "'item' and 'track_id' would both be track_id"),
        ({"item": "user_id"}, "'user_id' and 'item' would both be user_id"),
    ],
)
def test_a_mapping_that_fits_nothing_is_refused(mapping, message, write, run):
    path = write("a.csv", "user_id,item,track_id,played_at\na,b,c,2026-11-01\n")
    with pytest.raises(InputError) as error:
        run("plays", path, mapping=mapping)
    assert message in str(error.value)


def test_a_file_without_a_header_shows_no_address(write, run):
    with pytest.raises(InputError) as error:
        run("users", write("u.csv", "ann,ann@example.org\nbob,bob@example.org\n"))
    assert "the file has ann, (an e-mail address)" in str(error.value)
    assert "@" not in str(error.value)


def test_a_file_of_faulty_rows_only_sets_them_all_aside(write, run, rejected):
    assert rejected(run("plays", write("a.csv", HEADER + "x\ny\n"))) == [
        (2, "wrong number of fields"),
        (3, "wrong number of fields"),
    ]


def test_a_pipe_is_refused(tmp_path, run):
    os.mkfifo(tmp_path / "plays.csv")
    with pytest.raises(InputError, match="no regular file"):
        run("plays", tmp_path / "plays.csv")


@pytest.mark.parametrize("pairs", [["item"], ["=track_id"], ["item="], ["a=b", "a=c"]])
def test_map_options_that_are_not_pairs_are_refused(pairs):
    with pytest.raises(InputError, match="--map"):
        parse_mapping(pairs)


def test_faulty_rows_of_a_csv_file_are_set_aside_with_their_line(write, run, rejected):
    path = write(
        "a.csv",
        HEADER
        + "ann,t1,2026-11-01\n"
        + "ann,t2\n"  # line 3
        + "\n"
        + "ann,t3,2026-11-01,more\n"  # line 5
        + '"a name\nover lines",t4,2026-11-01\n'
        + ",t5,2026-11-01\n"  # line 8
        + "ann,t1,2026-11-01T00:00:00Z\n"  # line 9
        + "ann,t6,soon\n",
    )
    totals = run("plays", path)
    assert (totals.read, totals.imported) == (7, 2)
    assert rejected(totals) == [
        (3, "wrong number of fields"),
        (5, "wrong number of fields"),
        (8, "user_id is missing"),
        (9, "duplicate of an earlier row"),
        (10, "played_at is not a time"),
    ]
    assert next(iter(totals.reasons)) == "wrong number of fields"


@pytest.mark.parametrize("after", [3, 80])
def test_a_quote_that_is_never_closed_loses_its_own_row_only(after, write, run, rejected):
    rows = "".join(f"ann,t{i},2026-11-01\n" for i in range(after))
    text = HEADER + "bob,t1,2026-11-01\n" + 'bob,"t2,2026-11-01\n' + rows + "bob\n"
    totals = run("plays", write("a.csv", text))
    assert totals.imported == after + 1
    assert rejected(totals) == [(3, "a quote that is never closed"), (after + 4, "wrong number of fields")]


def test_a_field_without_an_end_to_it_is_set_aside(write, run, rejected):
    path = write("a.csv", HEADER + "bob," + "x" * 200_000 + ",2026-11-01\nbob,t1,2026-11-01\n")
    totals = run("plays", path)
    assert (totals.imported, rejected(totals)) == (1, [(2, "a field that is too long")])


def test_lines_that_are_no_json_objects_are_set_aside_with_their_line(write, run, rejected):
    good = '{"user_id": "ann", "track_id": "t%d", "played_at": 1793527200, "play_ms": 5}\n'
    bad = [
        "{oops\n",
        "[1, 2]\n",
        '"text"\n',
        '{"user_id": "\\ud800"}\n',
        "[" * 5_000 + "\n",
        good.replace(": 5}", ": NaN}") % 9,
    ]
    totals = run("plays", write("a.jsonl", good % 1 + "\n" + "".join(bad) + good % 2))
    assert totals.imported == 2
    assert rejected(totals) == [
        (3, "not readable as JSON"),
        (4, "not a JSON object"),
        (5, "not a JSON object"),
        (6, "an escape that is half a character"),
        (7, "not readable as JSON"),
        (8, "play_ms is not a number"),
    ]


def test_rows_of_a_parquet_file_are_numbered_across_chunks(write, run, rejected, monkeypatch):
    monkeypatch.setattr(tables, "CHUNK_ROWS", 10)
    rows = [{"user_id": f"u{i}", "track_id": "t" if i != 24 else None, "played_at": 1_700_000_000} for i in range(30)]
    rows[29]["user_id"] = "u3"
    reached = []
    totals = run("plays", write("a.parquet", rows), progress=lambda *seen: reached.append(seen))
    assert rejected(totals) == [(25, "track_id is missing"), (30, "duplicate of an earlier row")]
    assert reached == [("importing plays", done, 30) for done in (10, 20, 30)]


def test_lines_of_text_files_are_numbered_across_chunks(write, run, rejected, monkeypatch):
    monkeypatch.setattr(tables, "CHUNK_ROWS", 10)
    lines = [f"u{i},t,1700000000\n" for i in range(30)]
    lines[24] = "broken\n"
    totals = run("plays", write("a.csv", HEADER + "".join(lines)))
    assert (totals.imported, rejected(totals)) == (29, [(26, "wrong number of fields")])
