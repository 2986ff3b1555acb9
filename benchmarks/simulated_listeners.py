"""Listeners with hidden tastes: what they play by themselves, and what they make of a list."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from features.schema.ids import decode_id
from features.sources.sample import Sample, SampleSpec, make_sample

Document = dict[str, Any]

CATALOG_END = datetime(2026, 1, 1, tzinfo=UTC)
GENRES, LIKED, NOT_LIKED = 4, 1.0, -2.5
"""How many genres a listener likes, and the logit of the appeal of what is in them, and of the rest."""
BENTS, SHARED, PRIVATE = 5, 1.0, 0.7
"""Artists appeal to listeners by so many bents that both have, this much; and so much for no reason others share."""
OWN_A_DAY, REPEATS = 0.4, 0.4
"""Plays by themselves, and of these what they have heard before."""
SIGNAL_SHARE = 0.4
"""Of accepted tracks so many are liked, loved or saved; of the others so many are skipped or disliked in words."""
LOVED, DISLIKED = 0.8, 0.15
"""Appeal from which one says love rather than like, and below which dislike rather than skip."""
WAKING_HOURS = 18


@dataclass(frozen=True, eq=False)
class World:
    """A catalogue and its listeners.

    Attributes:
        seed: of all draws.
        sample: tracks and accounts as an import writes them; nobody has played or stated anything.
        users: (n,) object, ids as the database holds them.
        tracks: (m,) object, ids.
        artist: (m,) int, number of each track's artist.
        appeal: (n, m) float64 in (0, 1): how likely a track is heard to its end when it is put before a listener.
        drawn: (n, m) float64: how readily they come upon it by themselves; rows sum to 1.
    """

    seed: int
    sample: Sample
    users: np.ndarray
    tracks: np.ndarray
    artist: np.ndarray
    appeal: np.ndarray
    drawn: np.ndarray


def make_world(seed: int, users: int, tracks: int) -> World:
    """Listeners who like some genres and not others, and of each genre some artists, sounds and tracks.

    Artists appeal partly by what listeners have in common and partly for no reason that others share, so there is
    something to be learned of others, of what tracks are, and of the listener's own words alone.
    """
    sample = make_sample(SampleSpec(users=users, tracks=tracks, days=30, seed=seed), end=CATALOG_END)
    rng = np.random.default_rng([seed, 20])
    artist = sample.tracks["artist"].combine_chunks().dictionary_encode().indices.to_numpy()
    genre = np.unique([genres[0] for genres in sample.tracks["genres"].to_pylist()], return_inverse=True)[1]
    liked = np.argsort(rng.random((users, int(genre.max()) + 1)), axis=1) < GENRES
    artists = int(artist.max()) + 1
    bent = rng.normal(0.0, 1.0, (users, BENTS)) @ rng.normal(0.0, 1.0, (BENTS, artists)) / np.sqrt(BENTS)
    wanted = (
        np.where(liked, LIKED, NOT_LIKED)[:, genre]
        + (SHARED * bent + PRIVATE * rng.normal(0.0, 1.0, (users, artists)))[:, artist]
        + 0.5 * rng.normal(0.0, 1.0, (users, tracks))
    )
    appeal = 1.0 / (1.0 + np.exp(-wanted))
    drawn = np.exp(rng.normal(0.0, 0.8, tracks)) * appeal**2
    untold = pa.nulls(users, pa.list_(pa.string()))
    accounts = sample.users.set_column(sample.users.column_names.index("favorite_genres"), "favorite_genres", untold)
    return World(
        seed,
        Sample(sample.plays.slice(0, 0), sample.feedback.slice(0, 0), sample.tracks, accounts),
        np.array([decode_id(user) for user in accounts["user_id"].to_pylist()], object),
        np.array(sample.tracks["track_id"].to_pylist(), object),
        artist,
        appeal,
        drawn / drawn.sum(axis=1, keepdims=True),
    )


def own_plays(world: World, days: int, since: datetime) -> list[list[Document]]:
    """What each day's own listening is, day by day: the same whatever is recommended.

    Some of it is heard again, most is come upon, and what pleases less is left earlier.
    """
    rng = np.random.default_rng([world.seed, 21])
    heard: list[list[int]] = [[] for _ in world.users]
    found = []
    for day in range(days):
        plays = []
        for user in range(len(world.users)):
            for _ in range(rng.poisson(OWN_A_DAY)):
                again = heard[user] and rng.random() < REPEATS
                track = int(rng.choice(heard[user]) if again else rng.choice(len(world.tracks), p=world.drawn[user]))
                completion = _completion(rng, again or rng.random() < world.appeal[user, track])
                heard[user].append(track)
                at = since + timedelta(days=day, hours=WAKING_HOURS * rng.random())
                plays.append(_play(world, user, track, at, completion))
        found.append(plays)
    return found


@dataclass(frozen=True, eq=False)
class Answers:
    """What listeners made of one night's lists, as documents and in numbers.

    Attributes:
        plays: documents of `listening_history`.
        feedback: documents of `user_feedback`.
        user, track: (n,) int, what was put before whom.
        accepted: (n,) bool: heard to its end.
        signal: (n,) object, what was said of it; None for nothing.
    """

    plays: list[Document]
    feedback: list[Document]
    user: np.ndarray
    track: np.ndarray
    accepted: np.ndarray
    signal: np.ndarray


def answer(world: World, night: int, at: datetime, lists: list[tuple[int, Any, list[int]]]) -> Answers:
    """Listeners play what is put before them; luck of a listener and track in one night is the same in any run.

    Args:
        world: theirs.
        night: its number, of the luck.
        at: when they begin.
        lists: user, `_id` of the recommendation, tracks as put before them.
    """
    rng = np.random.default_rng([world.seed, 22, night])
    size = world.appeal.shape
    luck, words, depth = rng.random(size), rng.random(size), rng.random(size)
    plays, feedback, rows = [], [], []
    for user, recommendation, tracks in lists:
        for place, track in enumerate(tracks):
            appeal = world.appeal[user, track]
            accepted = bool(luck[user, track] < appeal)
            when = at + timedelta(minutes=4 * place)
            completion = 0.85 + 0.15 * depth[user, track] if accepted else 0.14 * depth[user, track]
            named = {"context": {"recommendationId": recommendation}}
            signal = _signal(appeal, accepted) if words[user, track] < SIGNAL_SHARE else None
            if signal != "dislike":  # that one is waved away before it begins
                plays.append(_play(world, user, track, when, completion) | named)
            if signal is not None:
                said = {"userId": world.users[user], "trackId": world.tracks[track], "signal": signal}
                feedback.append(said | {"createdAt": when + timedelta(minutes=1)} | named)
            rows.append((user, track, accepted, signal))
    columns = [np.array(column, object) for column in zip(*rows, strict=True)]
    return Answers(plays, feedback, columns[0].astype(int), columns[1].astype(int), columns[2].astype(bool), columns[3])


def _signal(appeal: float, accepted: bool) -> str:
    if accepted:
        return "love" if appeal >= LOVED else "like"
    return "dislike" if appeal < DISLIKED else "skip"


def _completion(rng: np.random.Generator, pleased: bool) -> float:
    return float(rng.uniform(0.85, 1.0) if pleased else rng.uniform(0.02, 0.4))


def _play(world: World, user: int, track: int, at: datetime, completion: float) -> Document:
    return {
        "userId": world.users[user],
        "trackId": world.tracks[track],
        "playedAt": at,
        "importedAt": at + timedelta(hours=1),
        "completionRate": round(completion, 4),
    }
