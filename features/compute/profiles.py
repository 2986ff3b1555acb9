"""User profiles: one vector of named dimensions a listener."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from features.compute.dataset import Catalog
from features.compute.interactions import MS_A_DAY, Interactions, Plays
from features.compute.weights import SKIPPED
from features.schema.names import AUDIO_FEATURES, AUDIO_NAMES

# What a feature is divided by, after its lowest usual value is taken off, to lie in 0..1 beside the ratios.
AUDIO_SCALES = {"loudness": (-60.0, 60.0), "tempo": (0.0, 250.0), "time_signature": (0.0, 8.0)}
PITCH_CLASSES = 12
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
WINDOWS_DAYS = (7, 30, 90)
DISCOVERY_DAYS = 30
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
    weights, played = interactions.weights[users], interactions.plays[users]
    row_of = np.full(interactions.plays.shape[0], -1, np.int64)
    row_of[users] = np.arange(len(users))
    rows = row_of[plays.user]
    audio, coverage = audio_dimensions(weights, catalog.audio)
    blocks = [
        audio,
        genre_dimensions(weights, played, catalog, top_genres),
        rhythm_dimensions(rows, plays, len(users)),
        rate_dimensions(rows, plays, played, as_of_ms),
        variety_dimensions(played, catalog),
        taste_for_the_popular(weights, interactions),
        activity_dimensions(rows, plays, len(users), as_of_ms),
    ]
    evidence = counts[users] / (counts[users] + EVIDENCE_PLAYS)
    first = np.full(len(users), as_of_ms, np.int64)
    np.minimum.at(first, rows, plays.played_at)
    return Profiles(
        users,
        tuple(name for block in blocks for name in block),
        np.column_stack([column for block in blocks for column in block.values()]),
        evidence * (1.0 + coverage) / 2.0,
        np.diff(played.indptr).astype(np.int64),
        -((first - as_of_ms) // MS_A_DAY),
    )


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


def genre_dimensions(
    weights: sp.csr_matrix, played: sp.csr_matrix, catalog: Catalog, top_genres: int
) -> dict[str, np.ndarray]:
    """`genre_<name>` for the genres most listeners play, ties by name, and `genre_other`.

    Shares of the weight on tracks that have a genre, a track's weight split evenly among its genres; they sum to 1,
    and are NaN for users none of whose tracks has one. Genres that make one name, "hip hop" and "hip_hop", share it.
    """
    per_track = np.diff(catalog.genres.indptr)
    split = catalog.genres.astype(np.float64)
    split.data /= np.repeat(per_track, per_track)
    listeners = np.asarray(((played @ catalog.genres.astype(np.int64)) > 0).sum(axis=0)).ravel()
    by_listeners = np.argsort(-listeners, kind="stable")
    chosen = np.zeros(len(listeners), bool)
    chosen[by_listeners[:top_genres]] = True
    chosen &= listeners > 0
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


def rhythm_dimensions(rows: np.ndarray, plays: Plays, users: int) -> dict[str, np.ndarray]:
    """`hour_00`..`hour_23` and `weekday_monday`..: shares of a user's plays, in UTC; each set sums to 1."""
    hours = plays.played_at // 3_600_000 % 24
    weekdays = (plays.played_at // MS_A_DAY + 3) % 7  # 1970 began on a Thursday
    by_hour = _shares(rows, hours, (users, 24))
    by_weekday = _shares(rows, weekdays, (users, 7))
    return {f"hour_{hour:02d}": by_hour[:, hour] for hour in range(24)} | {
        f"weekday_{name}": by_weekday[:, day] for day, name in enumerate(WEEKDAYS)
    }


def _shares(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    flat = np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).reshape(shape)
    return flat / flat.sum(axis=1, keepdims=True)


def rate_dimensions(rows: np.ndarray, plays: Plays, played: sp.csr_matrix, as_of_ms: int) -> dict[str, np.ndarray]:
    """Rates of behaviour, each in [0, 1], NaN where nothing is known of it.

    `skip_rate`, `completion_rate`: over plays whose completion is known. `repeat_rate`: the share of plays that
    were not the first of their track. `discovery_rate`: of the tracks played in the last 30 days, the share
    never played before that.
    """
    users = played.shape[0]
    known = ~np.isnan(plays.completion)
    total = np.bincount(rows[known], minlength=users)
    # completions are summed in fixed point: the same in any order
    fixed = np.rint(plays.completion[known].astype(np.float64) * (1 << 24))
    skipped = np.bincount(rows[known], plays.completion[known] < np.float32(SKIPPED), minlength=users)
    counts = np.asarray(played.sum(axis=1)).ravel()
    recent_cut = as_of_ms - DISCOVERY_DAYS * MS_A_DAY
    recent, fresh = _recent_and_fresh(rows, plays, played.shape, recent_cut)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "skip_rate": skipped / total,
            "completion_rate": np.bincount(rows[known], fixed, minlength=users) / (1 << 24) / total,
            "repeat_rate": 1.0 - np.diff(played.indptr) / counts,
            "discovery_rate": fresh / recent,
        }


def _recent_and_fresh(
    rows: np.ndarray, plays: Plays, shape: tuple[int, int], cut_ms: int
) -> tuple[np.ndarray, np.ndarray]:
    """Distinct tracks a user played at or after the cut, and how many of them not before it."""
    recent = _distinct(rows, plays, plays.played_at >= cut_ms, shape)
    older = _distinct(rows, plays, plays.played_at < cut_ms, shape)
    both = np.asarray(recent.multiply(older).sum(axis=1)).ravel()
    recent_count = np.asarray(recent.sum(axis=1)).ravel().astype(np.float64)
    return recent_count, recent_count - both


def _distinct(rows: np.ndarray, plays: Plays, chosen: np.ndarray, shape: tuple[int, int]) -> sp.csr_matrix:
    ones = np.ones(int(chosen.sum()), np.int64)
    matrix = sp.coo_matrix((ones, (rows[chosen], plays.track[chosen])), shape=shape).tocsr()
    matrix.data[:] = 1
    return matrix


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


def taste_for_the_popular(weights: sp.csr_matrix, interactions: Interactions) -> dict[str, np.ndarray]:
    """`popularity_taste`: the weighted mean, over a user's tracks, of the track's popularity in 0..1.

    A track's popularity is the share of played tracks with fewer listeners, so 0.9 means: among the top tenth.
    """
    listeners = np.bincount(interactions.plays.indices, minlength=interactions.plays.shape[1])
    heard = np.sort(listeners[listeners > 0])
    rank = np.searchsorted(heard, listeners, side="left") / max(len(heard), 1)
    with np.errstate(invalid="ignore"):
        return {"popularity_taste": (weights @ rank) / np.asarray(weights.sum(axis=1)).ravel()}


def activity_dimensions(rows: np.ndarray, plays: Plays, users: int, as_of_ms: int) -> dict[str, np.ndarray]:
    """`plays_per_day_7d`, `_30d`, `_90d`: plays a day over the last so many days."""
    columns = {}
    for days in WINDOWS_DAYS:
        recent = plays.played_at >= as_of_ms - days * MS_A_DAY
        columns[f"plays_per_day_{days}d"] = np.bincount(rows[recent], minlength=users) / days
    return columns
