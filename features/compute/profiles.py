"""User profiles: one vector of named dimensions a listener."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from features.compute.activity import FIXED_POINT, Activity, count_activity, recent_and_fresh
from features.compute.dataset import Catalog
from features.compute.interactions import MS_A_DAY, Interactions, Plays
from features.schema.names import AUDIO_FEATURES, AUDIO_NAMES

# What a feature is divided by, after its lowest usual value is taken off, to lie in 0..1 beside the ratios.
AUDIO_SCALES = {"loudness": (-60.0, 60.0), "tempo": (0.0, 250.0), "time_signature": (0.0, 8.0)}
PITCH_CLASSES = 12
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
WINDOWS_DAYS = (7, 30, 90)
DISCOVERY_DAYS = 30
BLOCK_USERS = 20_000
"""Users whose profiles are made at once: what stands in between is some ten times as much."""
EVIDENCE_PLAYS = 20
"""Plays at which a profile counts as half known."""
NO_DIRECTION = 1e-9
"""Keys whose mean vector is shorter than this cancel out: F sharp beside C has no mean on the circle."""


@dataclass(frozen=True, eq=False)
class Profiles:
    """Profiles of the users who played anything.

    Attributes:
        users: (n,) int32, user numbers, ascending.
        dimensions: names of the columns.
        vectors: (n, dimensions) float64; NaN where undefined, such as the energy of unmeasured tracks.
        confidence: (n,) float64 in [0, 1].
        track_count: (n,) int64, distinct tracks played.
        history_days: (n,) int64, days from the first play to the moment of the profile, rounded up.
    """

    users: np.ndarray
    dimensions: tuple[str, ...]
    vectors: np.ndarray
    confidence: np.ndarray
    track_count: np.ndarray
    history_days: np.ndarray


def build_profiles(
    interactions: Interactions, plays: Plays, catalog: Catalog, *, as_of_ms: int, top_genres: int
) -> Profiles:
    """One profile for each user with at least one play.

    Audio means and spreads and genre shares are weighted by the interaction weights, so that they follow what
    the listener is drawn to; rhythm, rates and activity count plays. Hours and weekdays are in UTC.

    Confidence is evidence times coverage: plays / (plays + 20), times (1 + the share of the listening that has
    audio features) / 2. A listener with few plays or of unmeasured music is less well known.

    Args:
        interactions: of all users and tracks.
        plays: the plays they were made from.
        catalog: by track number.
        as_of_ms: the moment that windows are counted back from.
        top_genres: how many genres get a dimension of their own; the rest share `genre_other`.
    """
    counts = np.asarray(interactions.plays.sum(axis=1)).ravel()
    users = np.nonzero(counts)[0].astype(np.int32)
    known = _Known(
        count_activity(plays, len(counts), as_of_ms=as_of_ms, windows_days=WINDOWS_DAYS),
        *recent_and_fresh(plays, interactions.plays, as_of_ms - DISCOVERY_DAYS * MS_A_DAY),
        top_genres_of(interactions.plays, catalog, top_genres),
        popularity_rank(interactions),
    )
    dimensions: tuple[str, ...] = ()
    vectors = np.zeros((len(users), 0))
    coverage = np.zeros(len(users))
    for start in range(0, max(len(users), 1), BLOCK_USERS):
        block = slice(start, start + BLOCK_USERS)
        columns, coverage[block] = _block(interactions, catalog, known, users[block])
        if start == 0:
            dimensions, vectors = tuple(columns), np.empty((len(users), len(columns)))
        for number, column in enumerate(columns.values()):
            vectors[block, number] = column
    evidence = counts[users] / (counts[users] + EVIDENCE_PLAYS)
    first = np.minimum(known.activity.first_at[users], as_of_ms)
    return Profiles(
        users,
        dimensions,
        vectors,
        evidence * (1.0 + coverage) / 2.0,
        np.diff(interactions.plays.indptr)[users].astype(np.int64),
        -((first - as_of_ms) // MS_A_DAY),
    )


@dataclass(frozen=True, eq=False)
class _Known:
    """What profiles are made of besides the interactions.

    Attributes:
        activity: of all users.
        recent: (users,) int64, distinct tracks of late.
        fresh: (users,) int64, of those the ones not played before.
        genres: (genres,) bool, which have a dimension.
        rank: (tracks,) float64 in 0..1, popularity.
    """

    activity: Activity
    recent: np.ndarray
    fresh: np.ndarray
    genres: np.ndarray
    rank: np.ndarray


def _block(
    interactions: Interactions, catalog: Catalog, known: _Known, users: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The dimensions of some users by name, and (n,) the share of their weight that has audio features."""
    weights, played, done = interactions.weights[users], interactions.plays[users], known.activity
    audio, coverage = audio_dimensions(weights, catalog.audio)
    columns = (
        audio
        | genre_dimensions(weights, catalog, known.genres)
        | rhythm_dimensions(done.by_hour[users], done.by_weekday[users])
        | rate_dimensions(done, users, played, known)
        | variety_dimensions(played, catalog)
        | taste_for_the_popular(weights, known.rank)
        | activity_dimensions(done.recent[users])
    )
    return columns, coverage


def scaled_audio(audio: np.ndarray) -> np.ndarray:
    """(n, 12) float64: audio features with loudness, tempo and time signature brought to about 0..1."""
    scaled = audio.copy()
    for column, name in enumerate(AUDIO_NAMES):
        low, width = AUDIO_SCALES.get(name, (0.0, 1.0))
        scaled[:, column] = (scaled[:, column] - low) / width
    return scaled


def audio_dimensions(weights: sp.csr_matrix, audio: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """`energy_mean`, `energy_spread` and so on, and the share of each user's weight that has audio features.

    Mean and spread (standard deviation) of the scaled feature over the tracks that have it. The key is a point
    on a circle of twelve: its mean is the direction of the mean vector, from 0 to below 1 of the circle and NaN
    where keys cancel out; its spread is 1 minus that vector's length (circular variance; Mardia & Jupp 2000,
    section 2.3).
    """
    scaled = scaled_audio(audio)
    known = ~np.isnan(scaled)
    filled = np.where(known, scaled, 0.0)
    total = weights @ known.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (weights @ filled) / total
        spread = np.sqrt(np.maximum((weights @ filled**2) / total - mean**2, 0.0))
        key = AUDIO_NAMES.index("key")
        angle = filled[:, key] * (2 * np.pi / PITCH_CLASSES)
        cosine = weights @ (np.cos(angle) * known[:, key]) / total[:, key]
        sine = weights @ (np.sin(angle) * known[:, key]) / total[:, key]
        length = np.hypot(cosine, sine)
        turn = np.round(np.arctan2(sine, cosine) / (2 * np.pi), 12) % 1.0  # rounded, or C is 0 or 1 by chance
        mean[:, key] = np.where(length > NO_DIRECTION, turn, np.nan)
        spread[:, key] = np.maximum(1.0 - length, 0.0)
        any_known = weights @ known.any(axis=1).astype(np.float64)
        coverage = np.nan_to_num(any_known / np.asarray(weights.sum(axis=1)).ravel())
    columns = {}
    for position, feature in enumerate(AUDIO_FEATURES):
        columns[f"{feature.name}_mean"] = mean[:, position]
        columns[f"{feature.name}_spread"] = spread[:, position]
    return columns, coverage


def top_genres_of(played: sp.csr_matrix, catalog: Catalog, top_genres: int) -> np.ndarray:
    """(genres,) bool: the so many genres that most listeners play, ties by name; none that nobody plays."""
    genres = catalog.genres.astype(np.int64)
    listeners = np.zeros(genres.shape[1], np.int64)
    for start in range(0, played.shape[0], BLOCK_USERS):
        listeners += np.asarray(((played[start : start + BLOCK_USERS] @ genres) > 0).sum(axis=0)).ravel()
    chosen = np.zeros(len(listeners), bool)
    chosen[np.argsort(-listeners, kind="stable")[:top_genres]] = True
    return chosen & (listeners > 0)


def genre_dimensions(weights: sp.csr_matrix, catalog: Catalog, chosen: np.ndarray) -> dict[str, np.ndarray]:
    """`genre_<name>` for the chosen genres, and `genre_other`.

    Shares of the weight on tracks that have a genre, a track's weight split evenly among its genres; they sum to 1,
    and are NaN for users none of whose tracks has one. Genres that make one name, "hip hop" and "hip_hop", share it.
    """
    per_track = np.diff(catalog.genres.indptr)
    split = catalog.genres.astype(np.float64)
    split.data /= np.repeat(per_track, per_track)
    shares = (weights @ split[:, chosen]).toarray()  # of all genres at once it would not fit in memory
    rest = weights @ np.asarray(split[:, ~chosen].sum(axis=1)).ravel()
    columns: dict[str, np.ndarray] = {}
    with np.errstate(invalid="ignore"):
        total = shares.sum(axis=1) + rest
        for genre, amount in zip(np.nonzero(chosen)[0], shares.T, strict=True):
            name = f"genre_{catalog.genre_names[int(genre)].replace(' ', '_')}"
            columns[name] = columns.get(name, 0.0) + amount / total
        if not chosen.all():
            columns["genre_other"] = columns.get("genre_other", 0.0) + rest / total
    return columns


def rhythm_dimensions(by_hour: np.ndarray, by_weekday: np.ndarray) -> dict[str, np.ndarray]:
    """`hour_00`..`hour_23` and `weekday_monday`..: shares of a user's plays, in UTC; each set sums to 1."""
    hours, weekdays = (counts / counts.sum(axis=1, keepdims=True) for counts in (by_hour, by_weekday))
    return {f"hour_{hour:02d}": hours[:, hour] for hour in range(24)} | {
        f"weekday_{name}": weekdays[:, day] for day, name in enumerate(WEEKDAYS)
    }


def rate_dimensions(done: Activity, users: np.ndarray, played: sp.csr_matrix, known: _Known) -> dict[str, np.ndarray]:
    """Rates of behaviour, each in [0, 1], NaN where nothing is known of it.

    `skip_rate`, `completion_rate`: over plays whose completion is known. `repeat_rate`: the share of plays that
    were not the first of their track. `discovery_rate`: of the tracks played in the last 30 days, the share
    never played before that.
    """
    total = done.known[users]
    counts = np.asarray(played.sum(axis=1)).ravel()
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "skip_rate": done.skipped[users] / total,
            "completion_rate": done.completion[users].astype(np.float64) / FIXED_POINT / total,
            "repeat_rate": 1.0 - np.diff(played.indptr) / counts,
            "discovery_rate": known.fresh[users] / known.recent[users],
        }


def variety_dimensions(played: sp.csr_matrix, catalog: Catalog) -> dict[str, np.ndarray]:
    """`track_variety`, `artist_variety`: 0 when all plays go to one, 1 when all are spread evenly over many.

    Shannon entropy of the shares of plays, divided by the logarithm of the number of plays, which is the most
    it could be; NaN for a single play, and for artists where none is known.
    """
    artists = sp.csr_matrix(
        (
            np.ones(int((catalog.artist >= 0).sum()), np.int64),
            (np.nonzero(catalog.artist >= 0)[0], catalog.artist[catalog.artist >= 0]),
        ),
        shape=(played.shape[1], len(catalog.artist_names)),
    )
    by_artist = (played.astype(np.int64) @ artists).tocsr()
    return {"track_variety": _variety(played), "artist_variety": _variety(by_artist)}


def _variety(counts: sp.csr_matrix) -> np.ndarray:
    total = np.asarray(counts.sum(axis=1)).ravel().astype(np.float64)
    logs = counts.astype(np.float64)
    logs.data = logs.data * np.log(logs.data)
    with np.errstate(invalid="ignore", divide="ignore"):
        entropy = np.log(total) - np.asarray(logs.sum(axis=1)).ravel() / total
        return np.where(total > 1, np.clip(entropy / np.log(total), 0.0, 1.0), np.nan)


def popularity_rank(interactions: Interactions) -> np.ndarray:
    """(tracks,) float64: the share of played tracks with fewer listeners, so 0.9 means: among the top tenth."""
    listeners = np.bincount(interactions.plays.indices, minlength=interactions.plays.shape[1])
    heard = np.sort(listeners[listeners > 0])
    return np.asarray(np.searchsorted(heard, listeners, side="left") / max(len(heard), 1))


def taste_for_the_popular(weights: sp.csr_matrix, rank: np.ndarray) -> dict[str, np.ndarray]:
    """`popularity_taste`: the weighted mean, over a user's tracks, of the track's popularity in 0..1."""
    with np.errstate(invalid="ignore"):
        return {"popularity_taste": (weights @ rank) / np.asarray(weights.sum(axis=1)).ravel()}


def activity_dimensions(recent: np.ndarray) -> dict[str, np.ndarray]:
    """`plays_per_day_7d`, `_30d`, `_90d`: plays a day over the last so many days."""
    return {f"plays_per_day_{days}d": recent[:, window] / days for window, days in enumerate(WINDOWS_DAYS)}
