"""Features by name, the columns they become, and the rows that they are asked for."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError, NotFoundError
from features.release.entities import Entities, entities_of, read_rows
from features.release.feature_references import columns_of, resolve

DIMENSIONS = ["energy_mean", "energy_spread", "genre_pop"]


def texts(*features: str) -> list[str]:
    return [str(found) for found in resolve(features, DIMENSIONS)]


# --- references


def test_a_star_stands_for_every_dimension_and_a_feature_named_twice_is_there_once():
    all_three = [f"user_profile:{name}" for name in DIMENSIONS]
    assert texts("user_profile:*") == all_three
    assert texts("similarity:scores", "user_profile:genre_pop", "user_profile:*", "similarity:scores") == [
        "similarity:scores",
        *(all_three[2], all_three[0], all_three[1]),
    ]
    assert [str(found) for found in resolve("user_profile:confidence", DIMENSIONS)] == ["user_profile:confidence"]


def test_no_features_are_an_error():
    with pytest.raises(InputError, match=r"^no features are asked for; name some, such as user_profile:confidence$"):
        texts()


@pytest.mark.parametrize(
    ("text", "close"),
    [
        ("user_profile:energy_meen", "user_profile:energy_mean"),
        ("user_profil:energy_spread", "user_profile:energy_spread"),
        ("energy_mean", "user_profile:energy_mean"),
        ("profile:genre_pop", "user_profile:genre_pop"),
        ("track_embedding:vectors", "track_embedding:vector"),
        ("recommendations:hybird", "recommendations:hybrid"),
        ("similarity:neighbours", "similarity:neighbors"),
    ],
)
def test_an_unknown_feature_is_told_with_the_close_names(text, close):
    with pytest.raises(NotFoundError, match=rf"^unknown feature '{text}'; close to it: ([\w:-]+, )*{close}\b"):
        texts("user_profile:genre_pop", text)


def test_the_features_of_several_types_that_end_alike_are_all_close():
    with pytest.raises(NotFoundError) as told:
        texts("confidence")
    assert str(told.value).endswith(
        "close to it: user_profile:confidence, track_embedding:confidence, similarity:confidence"
    )


@pytest.mark.parametrize("text", ["", "zzzz", "user_profile", ":", None])
def test_a_feature_that_is_close_to_nothing_is_told_how_to_write_one(text):
    known = "user_profile, track_embedding, similarity, recommendations"
    with pytest.raises(
        NotFoundError, match=f"^unknown feature {text!r}; a feature is type:name, where type is one of {known}$"
    ):
        texts(text)


def test_two_references_that_would_be_one_column_need_full_names():
    asked = resolve(["user_profile:confidence", "similarity:confidence"], DIMENSIONS)
    with pytest.raises(
        InputError,
        match=r"^user_profile:confidence and similarity:confidence would both be the column confidence; "
        r"pass full_feature_names=True$",
    ):
        columns_of(asked, [], full=False)
    assert columns_of(asked, ["confidence"], full=True) == ["user_profile__confidence", "similarity__confidence"]
    with pytest.raises(InputError, match=r"^the rows' own similarity__confidence and .*; rename the rows' column$"):
        columns_of(asked, ["similarity__confidence"], full=True)


# --- rows


IDS = st.one_of(
    st.none(), st.text("ab:", max_size=3), st.sampled_from(["oid:64b000000000000000000001", "64B000000000000000000001"])
)


@given(st.lists(IDS, max_size=8))
def test_each_row_has_its_own_id_however_often_it_is_repeated(ids):
    table = read_rows(pa.table({"user_id": pa.array(ids, pa.string())}), ["user_id"])
    found = entities_of(table, "user_id")
    expected = [one_by_one(text) for text in ids]
    assert list(zip(found.first.to_pylist(), found.second.to_pylist(), strict=True)) == expected
    assert sorted(found.distinct().to_pylist()) == sorted(
        {text for pair in expected for text in pair if text is not None}
    )


def one_by_one(text: str | None) -> tuple[str | None, str | None]:
    """Both meanings of an id, spelled out for the few forms that these tests have."""
    if text is None:
        return None, None
    if text.startswith("64B"):
        return text, f"oid:{text.lower()}"
    return text, None


def test_a_chunked_column_is_read_as_one():
    chunks = pa.chunked_array([["ann", "bob"], ["ann", None]], pa.string())
    found = entities_of(pa.table({"user_id": chunks}), "user_id")
    assert found.first.to_pylist() == ["ann", "bob", "ann", None]
    assert len(found.take(pa.array([3, 0]))) == 2
    assert isinstance(found.take(pa.array([0])), Entities)


@pytest.mark.parametrize(
    ("value", "kind"), [(7, "int"), (1.5, "float"), (["ann"], "list"), (b"ann", "bytes"), (True, "bool")]
)
def test_an_id_that_is_no_text_is_told_with_its_row(value, kind):
    rows = [{"user_id": "ann"}, {"user_id": value}]
    with pytest.raises(InputError, match=rf"^user_id of row 1 is .*, of type {kind}; make ids texts$"):
        read_rows(rows, ["user_id"])


def test_numbers_as_ids_of_a_frame_are_told_too():
    for frame in (pd.DataFrame({"user_id": [7, 8]}), pa.table({"user_id": [7, 8]})):
        with pytest.raises(InputError, match=r"^user_id of row 0 is .*7.*; make ids texts$"):
            read_rows(frame, ["user_id"])


def test_missing_ids_are_null_in_every_form():
    for values in (
        ["ann", None],
        ["ann", float("nan")],
        pd.Series(["ann", pd.NA]),
        pd.Series(["ann", pd.NA], dtype="string"),
    ):
        rows = pd.DataFrame({"user_id": values}) if isinstance(values, pd.Series) else [{"user_id": v} for v in values]
        assert read_rows(rows, ["user_id"])["user_id"].to_pylist() == ["ann", None]


def test_other_columns_keep_their_types_and_zones():
    moments = pd.Series(pd.to_datetime(["2026-01-01", None])).dt.tz_localize("Europe/Berlin")
    frame = pd.DataFrame(
        {"user_id": ["a", "b"], "n": [1, 2], "part": [0.5, np.nan], "yes": [True, False], "at": moments, 5: ["x", None]}
    )
    table = read_rows(frame, ["user_id"])
    assert table.schema.field("at").type == pa.timestamp(moments.dtype.unit, tz="Europe/Berlin")
    assert table.to_pydict() | {"at": None} == {
        "user_id": ["a", "b"],
        "n": [1, 2],
        "part": [0.5, None],
        "yes": [True, False],
        "at": None,
        "5": ["x", None],
    }
    assert table["at"].to_pylist() == [moments[0].to_pydatetime(), None]


def test_a_column_that_can_be_no_tables_is_told_by_name():
    with pytest.raises(InputError, match=r"^column mixed of the rows can't be a table's column \(.*\); leave it out$"):
        read_rows([{"user_id": "a", "mixed": 1}, {"user_id": "b", "mixed": "x"}], ["user_id"])


def test_a_column_that_is_there_twice_is_told():
    frame = pd.DataFrame([["a", "b"]], columns=["user_id", "user_id"])
    with pytest.raises(InputError, match=r"^the rows have a column twice among user_id, user_id; rename one$"):
        read_rows(frame, ["user_id"])
