"""Candidates put together from encoded pieces are what encoding them one by one gives."""

import bson
import pyarrow as pa
import pytest
from bson.raw_bson import RawBSONDocument
from hypothesis import given
from hypothesis import strategies as st

from features.release.list_bytes import candidate_arrays, pieces_of, with_candidates

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
LISTS = st.lists(
    st.lists(
        st.tuples(TEXTS, st.floats(allow_nan=False), st.lists(TEXTS, max_size=3)),
        max_size=12,
    ),
    max_size=5,
)


def metadata_of(track):
    return {"trackName": track, "artist": None, "genres": [track, "pop"], "audioFeatures": {"key": len(track)}}


def columns(lists, text=None):
    text = text or pa.string()
    tracks = pa.array([[track for track, _, _ in one] for one in lists], pa.list_(pa.string()))
    scores = pa.array([[score for _, score, _ in one] for one in lists], pa.list_(pa.float64()))
    reasons = pa.array([[why for _, _, why in one] for one in lists], pa.list_(pa.list_(pa.string())))
    coded = tracks.cast(pa.list_(text)), scores, reasons.cast(pa.list_(pa.list_(text)))
    return tuple(pa.chunked_array([column]) for column in coded)


def one_by_one(before, one, after):
    candidates = [
        {"trackId": track, "score": score, "rank": rank, "reasons": why, "metadata": metadata_of(track)}
        for rank, (track, score, why) in enumerate(one, start=1)
    ]
    return bson.encode({**before, "candidates": candidates, **after})


@pytest.mark.parametrize("text", [pa.string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
@given(lists=LISTS)
def test_pieces_together_are_what_encoding_one_by_one_gives(lists, text):
    arrays = candidate_arrays(*columns(lists, text), lambda track: pieces_of(track, metadata_of(track)))
    before, after = {"_id": bson.ObjectId(b"0" * 12), "userId": "u"}, {"context": {"seeds": []}, "feedback": None}
    made = [with_candidates(before, array, after) for array in arrays]
    assert made == [one_by_one(before, one, after) for one in lists]


def test_a_list_longer_than_ten_has_places_of_two_digits():
    one = [(f"t{number}", 1.0 - number / 100, ["similar_users"]) for number in range(101)]
    array = candidate_arrays(*columns([one, one[:1]]), lambda track: pieces_of(track, metadata_of(track)))[0]
    document = RawBSONDocument(with_candidates({"_id": 1}, array, {}))
    assert [entry["rank"] for entry in document["candidates"]] == list(range(1, 102))
    assert document["candidates"][100]["metadata"]["trackName"] == "t100"


def test_tracks_are_asked_for_once_each():
    asked = []

    def pieces(track):
        asked.append(track)
        return pieces_of(track, {})

    candidate_arrays(*columns([[("a", 1.0, []), ("b", 0.5, [])], [("b", 1.0, []), ("a", 0.5, [])]]), pieces)
    assert sorted(asked) == ["a", "b"]


@pytest.mark.parametrize("missing", [0, 1])
def test_a_list_of_nothing_is_an_empty_array(missing):
    arrays = candidate_arrays(*columns([[]] * missing), lambda track: pieces_of(track, {}))
    assert arrays == [bson.encode({})] * missing
