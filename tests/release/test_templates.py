"""Documents made after a template are those that encoding each of them gives, to the byte."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.release.documents import ReleaseDocuments
from features.release.manifest import Manifest, release_folder
from features.release.templates import after_template, places

OUTPUT = ("user_profile",)
MOMENT = datetime(2026, 3, 1, tzinfo=UTC)
MANIFEST = Manifest("2026-03-01-abcdef", MOMENT, MOMENT, MOMENT, {}, "", "", [], {}, {}, [])
IDS = st.one_of(st.text(min_size=1, max_size=5).filter(lambda text: "\0" not in text), st.just("oid:" + 24 * "a"))
COUNTS = st.one_of(st.integers(0, 3), st.integers(0, 2**40))


def table_of(output: str, rows: list[tuple[Any, ...]], width: int) -> pa.Table:
    flat = pa.array(
        np.array([values[:width] for _, values, *_ in rows], np.float64).ravel(),
        pa.float32() if output == "track_embedding" else pa.float64(),
    )
    return pa.table(
        {
            "track_id" if output == "track_embedding" else "user_id": [row[0] for row in rows],
            "vector": pa.FixedSizeListArray.from_arrays(flat, width),
            "confidence": pa.array([row[2] for row in rows], pa.float64()),
            "track_count": pa.array([row[3] for row in rows], pa.int64()),
            "history_days": pa.array([row[4] for row in rows], pa.int64()),
        }
    )


@pytest.mark.parametrize("output", ["user_profile", "track_embedding"])
@pytest.mark.parametrize("vectors", ["double", "float32"])
def test_any_documents_are_those_that_encoding_each_gives(tmp_path, output, vectors):
    documents = ReleaseDocuments(tmp_path, MANIFEST, vectors)
    row = st.tuples(
        IDS, st.lists(st.floats(width=32), min_size=12, max_size=12), st.floats(0, 1), COUNTS, st.integers(0, 9)
    )

    @settings(deadline=None, max_examples=40)
    @given(st.lists(row, min_size=1, max_size=4), st.sampled_from([1, 12]))
    def check(rows, width):
        table = table_of(output, rows, width)
        quick = documents._alike(output, table)
        alike = len({count > 2**31 - 1 for _, _, _, count, _ in rows}) == 1 and rows[0][3] < 2**31
        assert (quick is not None) == alike
        assert quick is None or quick == [bson.encode(one) for one in documents._features(output, table)]

    check()


def test_a_chunk_that_is_not_alike_is_encoded_one_by_one(tmp_path):
    rows = [("ann", [0.5, 0.25], 0.5, 1, 1), ("bob", [0.5, 0.25], 0.5, 2**40, 1)]
    table = table_of("user_profile", rows, 2)
    pq.write_table(table, tmp_path / "user_profile.parquet")
    documents = ReleaseDocuments(tmp_path, MANIFEST)
    assert documents._alike("user_profile", table) is None
    found = [bson.decode(document.raw) for document in documents.chunk("user_profile", 0)]
    assert [one["metadata"]["trainingData"]["trackCount"] for one in found] == [1, 2**40]


def test_the_footer_of_a_file_is_kept_until_the_file_is_another(tmp_path, monkeypatch):
    rows = [(name, [0.5, 0.25], 0.5, 1, 1) for name in ("ann", "bob", "cleo")]
    path, documents, footers = tmp_path / "user_profile.parquet", ReleaseDocuments(tmp_path, MANIFEST), []

    class Noting(pq.ParquetFile):
        def __init__(self, source: Any, **how: Any) -> None:
            footers.append(how["metadata"])
            super().__init__(source, **how)

    monkeypatch.setattr(pq, "ParquetFile", Noting)

    def users() -> list[str]:
        return [one["userId"] for n in range(documents.chunks("user_profile")) for one in documents.chunk(*OUTPUT, n)]

    pq.write_table(table_of(*OUTPUT, rows, 2), path, row_group_size=1)
    assert users() == ["ann", "bob", "cleo"]
    assert footers[0] is None
    assert None not in footers[1:]
    path.unlink()
    pq.write_table(table_of(*OUTPUT, [rows[2], rows[0]], 2), path, row_group_size=1)
    assert users() == ["cleo", "ann"]


@pytest.mark.parametrize("vectors", ["double", "float32"])
def test_the_chunks_of_a_release_are_made_after_templates(home: Path, manifest: Manifest, vectors, monkeypatch):
    documents = ReleaseDocuments(release_folder(home, manifest.id), replace(manifest), vectors)
    plain = {
        output: [document.raw for document in documents.chunk(output, 0)]
        for output in ("user_profile", "track_embedding")
    }
    monkeypatch.setattr(ReleaseDocuments, "_alike", lambda *_: None)
    for output, quick in plain.items():
        assert len(quick) > 1
        assert quick == [document.raw for document in documents.chunk(output, 0)]


def test_a_value_of_an_unknown_type_is_not_passed_over():
    with pytest.raises(KeyError):
        places(bson.encode({"a": bson.Regex("a")}))


def test_no_documents_are_made_where_a_number_has_no_fixed_width():
    first = bson.encode({"_id": bson.ObjectId(), "userId": "ann", "value": "text"})
    assert after_template(first, "userId", [bson.ObjectId()], ["ann"], {"value": np.zeros(1)}) is None
