"""The join of what listeners did with what was recommended to them: arrays in, arrays out."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np

from features.compute.weights import SKIPPED

PLAYED, SKIP, LIKED, DISLIKED = range(4)
"""What a response says. `love`, `like`, `save` and an acceptance like, `replay` plays; a dislike wins a tie."""
NOWHERE = -1
"""In place of a number: no release, no list, not stated."""
RANK_BITS = 16
_NONE = np.iinfo(np.int32).max

DISLIKED_STARS, SKIPPED_STARS, MIXED_STARS, PLAYED_STARS, LIKED_STARS = 1.0, 2.0, 3.0, 4.0, 5.0


@dataclass(frozen=True, eq=False)
class Responses:
    """Plays, feedback and acceptances as parallel arrays, ordered by user, then track.

    Attributes:
        user: (n,) int32.
        track: (n,) int32.
        at: (n,) int64, milliseconds since 1970.
        kind: (n,) int8: PLAYED, SKIP, LIKED or DISLIKED.
        named: (n,) bool: a recommendation is named, so nothing is inferred.
        release: (n,) int16: that of the list named, else the one that was live at the moment; NOWHERE for none.
        place: (n,) int8: the strategy of the list named or stated, by its place in the serving order; NOWHERE for any.
    """

    user: np.ndarray
    track: np.ndarray
    at: np.ndarray
    kind: np.ndarray
    named: np.ndarray
    release: np.ndarray
    place: np.ndarray

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True, eq=False)
class Lists:
    """Some lists of one release, as parallel arrays.

    Attributes:
        release: its number.
        user: (m,) int32; NOWHERE for who has not responded to anything.
        place: (m,) int8, of the strategy in the serving order.
        tracks: (t,) int32, all lists' tracks one after the other, best first; NOWHERE for one without a response.
        offsets: (m + 1,) int64: list i holds tracks[offsets[i]:offsets[i + 1]].
    """

    release: int
    user: np.ndarray
    place: np.ndarray
    tracks: np.ndarray
    offsets: np.ndarray


@dataclass(frozen=True, eq=False)
class Credits:
    """For each response the list it is credited to: (n,) place in the serving order and rank from 1, else NOWHERE."""

    place: np.ndarray
    rank: np.ndarray


@dataclass(frozen=True, eq=False)
class Answers:
    """What became of recommended tracks: a row a list and track that was responded to, by list, then rank.

    Attributes:
        release, user, place, track, rank: (n,) whose list and which track of it.
        played, liked, skipped, disliked: (n,) bool.
        explicit_play, explicit_like, explicit_skip: (n,) bool: by a response that names the list.
        responses: (n, 2) int64: how many were credited, explicit and inferred.
    """

    release: np.ndarray
    user: np.ndarray
    place: np.ndarray
    track: np.ndarray
    rank: np.ndarray
    played: np.ndarray
    liked: np.ndarray
    skipped: np.ndarray
    disliked: np.ndarray
    explicit_play: np.ndarray
    explicit_like: np.ndarray
    explicit_skip: np.ndarray
    responses: np.ndarray

    def __len__(self) -> int:
        return len(self.user)

    def where(self, mask: np.ndarray) -> "Answers":
        """Those of a mask, in their order."""
        return Answers(**{column.name: getattr(self, column.name)[mask] for column in fields(self)})

    @property
    def list_starts(self) -> np.ndarray:
        """(lists,) int64: the row that each list begins at."""
        return np.flatnonzero(_changes(self.release, self.user, self.place))

    @property
    def accepted(self) -> np.ndarray:
        """(n,) bool: played or liked, and not disliked in the end."""
        return np.asarray((self.played | self.liked) & ~self.disliked)

    @property
    def explicit_acceptance(self) -> np.ndarray:
        """(n,) bool: accepted, and by a play or liking that names the list."""
        return np.asarray(self.accepted & (self.explicit_play | self.explicit_like))

    @property
    def explicit(self) -> np.ndarray:
        """(n,) bool: by any response that names the list."""
        return np.asarray(self.responses[:, 0] > 0)

    @property
    def stars(self) -> np.ndarray:
        """(n,) float64, what a track is rated by its strongest word.

        Disliked 1, skipped and no more 2, both skipped and played 3, played 4, liked 5.
        """
        stars = np.where(self.skipped, SKIPPED_STARS, PLAYED_STARS)
        stars[self.played & self.skipped] = MIXED_STARS
        stars[self.liked] = LIKED_STARS
        stars[self.disliked] = DISLIKED_STARS
        return stars


def is_skip(completion: np.ndarray) -> np.ndarray:
    """(n,) bool: left within the first 15 %, as for the weight of a play; unknown (NaN) is no skip.

    >>> is_skip(np.array([0.0, 0.1499, 0.15, 1.0, np.nan])).tolist()
    [True, True, False, False, False]
    """
    return np.asarray(completion.astype(np.float32) < np.float32(SKIPPED))


def credit(responses: Responses, batches: Iterable[Lists]) -> Credits:
    """Finds for each response the list it is credited to, at most one.

    A response that names a list is credited to that one, if it holds the track, and to no other. Any other is
    inferred: to a list of its user's in the release that was live at its moment, if one holds the track. Of several
    the first in the serving order counts, which is the list that is served where no strategy is asked for; if the
    response states a strategy, only that one's.

    Args:
        responses: in their order.
        batches: lists of any releases in any order; one that comes twice counts once.
    """
    best = np.full(len(responses), _NONE, np.int32)
    if not len(responses):
        return Credits(best.astype(np.int8), best)
    width = int(responses.track.max()) + 1
    keys, first = np.unique(_keys(responses.user, responses.track, width), return_index=True)
    count = np.diff(first, append=len(responses))
    for batch in batches:
        entry, rank = _entries(batch)
        wanted = (batch.user[entry] >= 0) & (batch.tracks >= 0) & (batch.tracks < width)
        entry, rank, tracks = entry[wanted], rank[wanted], batch.tracks[wanted]
        sought = _keys(batch.user[entry], tracks, width)
        at = np.minimum(np.searchsorted(keys, sought), len(keys) - 1)
        hit = keys[at] == sought
        entry, rank, at = entry[hit], rank[hit], at[hit]
        row, source = _spread(first[at], count[at])
        place = batch.place[entry][source].astype(np.int32)
        suits = responses.release[row] == batch.release
        suits &= (responses.place[row] == NOWHERE) | (responses.place[row] == place)
        np.minimum.at(best, row[suits], (place << RANK_BITS | rank[source])[suits])
    found = best < _NONE
    return Credits(
        np.where(found, best >> RANK_BITS, NOWHERE).astype(np.int8),
        np.where(found, best & ((1 << RANK_BITS) - 1), NOWHERE).astype(np.int32),
    )


def _keys(user: np.ndarray, track: np.ndarray, width: int) -> np.ndarray:
    return np.asarray(user.astype(np.int64) * width + track)


def _entries(batch: Lists) -> tuple[np.ndarray, np.ndarray]:
    """For each track of a batch the number of its list and its rank from 1."""
    lengths = np.diff(batch.offsets)
    entry = np.repeat(np.arange(len(lengths)), lengths)
    rank = np.arange(len(batch.tracks)) - batch.offsets[entry] + 1
    return entry, rank.astype(np.int32)


def _spread(first: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Runs `first .. first + count` laid out one after the other, and which run each element is of.

    >>> [part.tolist() for part in _spread(np.array([5, 0]), np.array([2, 1]))]
    [[5, 6, 0], [0, 0, 1]]
    """
    source = np.repeat(np.arange(len(first)), count)
    within = np.arange(len(source)) - np.repeat(np.cumsum(count) - count, count)
    return first[source] + within, source


def answers(responses: Responses, credits_: Credits) -> Answers:
    """Puts what was credited together, a row a list and track.

    A track is played if any play of it got past 15 % or told nothing, skipped if any did not, or if a `skip` says so:
    it may be both. Of likings and dislikes the latest counts, a dislike wins a tie; disliked is skipped too.
    """
    row = np.flatnonzero(credits_.place != NOWHERE)
    order = np.lexsort(
        (
            responses.kind[row],
            responses.at[row],
            credits_.rank[row],
            credits_.place[row],
            responses.user[row],
            responses.release[row],
        )
    )
    row = row[order]
    columns = (responses.release, responses.user, credits_.place, credits_.rank)
    start = np.flatnonzero(_changes(*(column[row] for column in columns)))
    kind, named = responses.kind[row], responses.named[row]

    def any_of(mask: np.ndarray) -> np.ndarray:
        return np.logical_or.reduceat(mask, start) if len(start) else np.zeros(0, bool)

    said = np.where((kind == LIKED) | (kind == DISLIKED), np.arange(len(row)), -1)
    last = np.maximum.reduceat(said, start) if len(start) else np.zeros(0, np.int64)
    liked, disliked = ((last >= 0) & (kind[last] == which) for which in (LIKED, DISLIKED))
    of_each = [column[row][start] for column in columns]
    by_name = np.add.reduceat(named.astype(np.int64), start) if len(start) else np.zeros(0, np.int64)
    return Answers(
        release=of_each[0],
        user=of_each[1],
        place=of_each[2],
        track=responses.track[row][start],
        rank=of_each[3],
        played=any_of(kind == PLAYED),
        liked=liked,
        skipped=any_of(kind == SKIP) | disliked,
        disliked=disliked,
        explicit_play=any_of((kind == PLAYED) & named),
        explicit_like=liked & named[last],
        explicit_skip=any_of((kind == SKIP) & named) | (disliked & named[last]),
        responses=np.stack([by_name, np.diff(start, append=len(row)) - by_name], axis=1),
    )


def _changes(*columns: np.ndarray) -> np.ndarray:
    """(n,) bool: where a row differs from the one before in any column; the first one does."""
    changes = np.ones(len(columns[0]), bool)
    changes[1:] = np.logical_or.reduce([np.diff(column) != 0 for column in columns])
    return changes


def overall_rating(stars: np.ndarray) -> float:
    """A list's rating: the mean of its tracks' `stars`, so from 1 to 5; NaN where nothing is known of it.

    >>> overall_rating(np.array([LIKED_STARS, PLAYED_STARS, SKIPPED_STARS, SKIPPED_STARS]))
    3.25
    """
    return float(stars.sum() / len(stars)) if len(stars) else np.nan
