"""Candidates of many lists, encoded: each put together from pieces that are encoded once.

The obvious way makes an object of every candidate, with its track's metadata, and encodes each list. But a track is the
same in every list it stands in, a place in a list is the same in all, and few sets of reasons are many candidates'. So
those are encoded once, and a candidate is the pieces one after the other: 0.1 ms a list of a hundred instead of 0.5.
What fields a candidate has and in which order is written in `pieces_of` alone. The format: https://bsonspec.org/spec.html
"""

import struct
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import bson
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SCORE, RANK = b"\x01score\x00", b"\x10rank\x00"
DOCUMENT, ARRAY = b"\x03", b"\x04"
SIZE = struct.Struct("<i")


def elements(fields: dict[str, Any]) -> bytes:
    """Fields of a document, encoded, without its size and end."""
    return bson.encode(fields)[4:-1]


def with_candidates(before: dict[str, Any], candidates: bytes, after: dict[str, Any]) -> bytes:
    """A document of some fields, `candidates` as an encoded array, and some more fields."""
    parts = (elements(before), ARRAY, b"candidates\x00", candidates, elements(after), b"\x00")
    return SIZE.pack(4 + sum(map(len, parts))) + b"".join(parts)


def pieces_of(track: str, metadata: Any) -> tuple[bytes, bytes]:
    """Of a candidate what is before its score, and what is after its reasons; between them are rank and reasons."""
    return elements({"trackId": track}) + SCORE, elements({"metadata": metadata}) + b"\x00"


def candidate_arrays(
    tracks: pa.ChunkedArray,
    scores: pa.ChunkedArray,
    reasons: pa.ChunkedArray,
    pieces: Callable[[str], tuple[bytes, bytes]],
) -> list[bytes]:
    """What encoding the candidates of each list gives, as the array that it is.

    Args:
        tracks: (lists,) of (n,) texts, best first; nowhere null, like the others.
        scores: (lists,) of (n,) float64.
        reasons: (lists,) of (n,) of texts.
        pieces: as `pieces_of` makes them, by track.
    """
    lists = tracks.combine_chunks()
    ends = np.concatenate(([0], np.cumsum(lists.value_lengths().to_numpy()))).tolist()
    coded = _flat(lists).dictionary_encode()
    of_tracks = [pieces(track) for track in coded.dictionary.to_pylist()]
    fields, said = _reasons(_flat(reasons.combine_chunks()))
    track = coded.indices.to_numpy()
    sizes = _lengths(first for first, _ in of_tracks)[track] + _lengths(last for _, last in of_tracks)[track]
    sizes += _lengths(fields)[said] + (4 + 8 + len(RANK) + 4)
    own = zip(
        _pieces_of_four(sizes.astype("<i4")),
        track.tolist(),
        _pieces_of_eight(_flat(scores.combine_chunks()).to_numpy().astype("<f8")),
        said.tolist(),
        strict=True,
    )
    # of each place: how a candidate begins in the array, and its rank
    places = [
        (DOCUMENT + b"%d\x00" % place, RANK + SIZE.pack(place + 1)) for place in range(max(np.diff(ends), default=0))
    ]
    arrays = []
    for start, end in pairwise(ends):
        parts: list[bytes] = []
        for (begin, rank), (size, at, score, why) in zip(places[: end - start], own, strict=False):
            first, last = of_tracks[at]
            parts += (begin, size, first, score, rank, fields[why], last)
        content = b"".join(parts)
        arrays.append(SIZE.pack(len(content) + 5) + content + b"\x00")
    return arrays


def _reasons(reasons: pa.Array) -> tuple[list[bytes], np.ndarray]:
    """Encoded fields that differ, and which is each candidate's."""
    ends = np.concatenate(([0], np.cumsum(reasons.value_lengths().to_numpy()))).tolist()
    coded = _flat(reasons).dictionary_encode()
    texts, codes = coded.dictionary.to_pylist(), coded.indices.to_numpy().astype(np.int32)
    whole = codes.tobytes()
    known: dict[bytes, int] = {}
    which = [known.setdefault(whole[4 * start : 4 * end], len(known)) for start, end in pairwise(ends)]
    fields = [elements({"reasons": [texts[code] for code in np.frombuffer(key, np.int32).tolist()]}) for key in known]
    return fields, np.array(which, np.int64)


def _lengths(pieces: Iterable[bytes]) -> np.ndarray:
    return np.fromiter(map(len, pieces), np.int64)


def _pieces_of_four(numbers: np.ndarray) -> list[bytes]:
    whole = numbers.tobytes()
    return [whole[at : at + 4] for at in range(0, len(whole), 4)]


def _pieces_of_eight(numbers: np.ndarray) -> list[bytes]:
    whole = numbers.tobytes()
    return [whole[at : at + 8] for at in range(0, len(whole), 8)]


def _flat(lists: pa.Array) -> pa.Array:
    """What stands in the lists, one after the other; texts, where they are numbers of a dictionary."""
    flat = pc.list_flatten(lists)
    return flat.cast(flat.type.value_type) if pa.types.is_dictionary(flat.type) else flat
