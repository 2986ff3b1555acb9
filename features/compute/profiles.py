"""User profiles: one vector of named dimensions a listener."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from features.compute.activity import FIXED_POINT, Activity, count_activity, recent_and_fresh
from features.compute.dataset import Catalog
from features.compute.interactions import MS_A_DAY, Interactions, Plays
from features.compute.profile_sums import counted, evenness_sums, listeners_of, weighted_sums
from features.compute.runner import Threads
from features.schema.names import AUDIO_FEATURES, AUDIO_NAMES

# What a feature is divided by, after its lowest usual value is taken off, to lie in 0..1 beside the ratios.
AUDIO_SCALES = {"loudness": (-60.0, 60.0), "tempo": (0.0, 250.0), "time_signature": (0.0, 8.0)}
PITCH_CLASSES = 12
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
WINDOWS_DAYS = (7, 30, 90)
DISCOVERY_DAYS = 30
BLOCK_USERS = 10_000
"""Users whose profiles are made at once by a thread: what stands in between is some ten times as much."""
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
    interactions: Interactions, plays: Plays, catalog: Catalog, *, as_of_ms: int, top_genres: int, threads: int = 1
) -> Profiles:
    """What `profiles_in_blocks` gives, when all of them are made."""
    profiles, made = profiles_in_blocks(
        interactions, plays, catalog, as_of_ms=as_of_ms, top_genres=top_genres, threads=threads
    )
    for _ in made:
        pass
    return profiles


def profiles_in_blocks(
    interactions: Interactions, plays: Plays, catalog: Catalog, *, as_of_ms: int, top_genres: int, threads: int = 1
) -> tuple[Profiles, Iterator[slice]]:
    """One profile for each user with at least one play, made while the iterator is asked for the rows that are.

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
        threads: one or more; they change nothing.

    Returns:
        The profiles, whose vectors and confidence are not there yet, and ranges of rows that are, one after the other.
    """
    known = _known(interactions, plays, catalog, as_of_ms=as_of_ms, top_genres=top_genres, threads=threads)
    users = np.nonzero(known.plays)[0].astype(np.int32)
    dimensions = tuple(_block(interactions, catalog, known, users[:0])[0])
    first = np.minimum(known.activity.first_at[users], as_of_ms)
    profiles = Profiles(
        users,
        dimensions,
        np.empty((len(users), len(dimensions))),
        np.empty(len(users)),
        np.diff(interactions.plays.indptr)[users].astype(np.int64),
        -((first - as_of_ms) // MS_A_DAY),
    )

    def make(rows: slice) -> slice:
        columns, coverage = _block(interactions, catalog, known, users[rows])
        for number, column in enumerate(columns.values()):
            profiles.vectors[rows, number] = column
        counts = known.plays[users[rows]]
        profiles.confidence[rows] = counts / (counts + EVIDENCE_PLAYS) * (1.0 + coverage) / 2.0
        return rows

    blocks = [slice(start, start + BLOCK_USERS) for start in range(0, len(users), BLOCK_USERS)]
    return profiles, Threads(threads).ordered(make, (), blocks)


@dataclass(frozen=True, eq=False)
class _Known:
    """What profiles are made of besides the interactions.

    Attributes:
        activity: of all users.
        recent: (users,) int64, distinct tracks of late.
        fresh: (users,) int64, of those the ones not played before.
        genres: (genres,) bool, which have a dimension.
        shares: (tracks, genres that have one) float64 CSR: each of a track's genres, as a share.
        said: (tracks, k) float64: what else is weighed of a track, in the columns that `_Said` names.
        plays: (users,) int64.
        weight: (users,) float64, the sum of each user's weights.
        logs: count · log(count), by count.
    """

    activity: Activity
    recent: np.ndarray
    fresh: np.ndarray
    genres: np.ndarray
    shares: sp.csr_matrix
    said: np.ndarray
    plays: np.ndarray
    weight: np.ndarray
    logs: np.ndarray


class _Said:
    """Columns of what is said of a track."""

    AUDIO = len(AUDIO_NAMES)
    HAS, VALUE, SQUARE = slice(0, AUDIO), slice(AUDIO, 2 * AUDIO), slice(2 * AUDIO, 3 * AUDIO)
    COSINE, SINE, ANY, OTHER_GENRES, RANK = range(3 * AUDIO, 3 * AUDIO + 5)
    WIDTH = 3 * AUDIO + 5


def _known(
    interactions: Interactions, plays: Plays, catalog: Catalog, *, as_of_ms: int, top_genres: int, threads: int
) -> _Known:
    counts = np.asarray(interactions.plays.sum(axis=1)).ravel()
    activity = count_activity(plays, len(counts), as_of_ms=as_of_ms, windows_days=WINDOWS_DAYS, threads=threads)
    recent, fresh = recent_and_fresh(plays, interactions.plays, as_of_ms - DISCOVERY_DAYS * MS_A_DAY, threads)
    genres = top_genres_of(interactions.plays, catalog, top_genres, threads)
    per_track = np.diff(catalog.genres.indptr)
    split = catalog.genres.astype(np.float64)
    split.data /= np.repeat(per_track, per_track)
    said = np.empty((interactions.weights.shape[1], _Said.WIDTH))
    scaled = scaled_audio(catalog.audio)
    has = ~np.isnan(scaled)
    said[:, _Said.HAS], said[:, _Said.VALUE] = has, np.where(has, scaled, 0.0)
    said[:, _Said.SQUARE] = said[:, _Said.VALUE] ** 2
    key = AUDIO_NAMES.index("key")
    angle = said[:, _Said.VALUE][:, key] * (2 * np.pi / PITCH_CLASSES)
    said[:, _Said.COSINE], said[:, _Said.SINE] = np.cos(angle) * has[:, key], np.sin(angle) * has[:, key]
    said[:, _Said.ANY] = has.any(axis=1)
    said[:, _Said.OTHER_GENRES] = np.asarray(split[:, ~genres].sum(axis=1)).ravel()
    said[:, _Said.RANK] = popularity_rank(interactions)
    weight = np.asarray(interactions.weights.sum(axis=1)).ravel()
    number = np.arange(1, int(counts.max(initial=0)) + 1, dtype=np.float64)
    logs = np.concatenate([[0.0], number * np.log(number)])
    return _Known(activity, recent, fresh, genres, split[:, genres], said, counts, weight, logs)


def _block(
    interactions: Interactions, catalog: Catalog, known: _Known, users: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The dimensions of some users by name, and (n,) the share of their weight that has audio features."""
    sums, shares = weighted_sums(interactions.weights, users, known.said, known.shares)
    done = known.activity
    columns = (
        audio_dimensions(sums)
        | genre_dimensions(shares, sums[:, _Said.OTHER_GENRES], catalog, known.genres)
        | rhythm_dimensions(done.by_hour[users], done.by_weekday[users])
        | rate_dimensions(users, np.diff(interactions.plays.indptr)[users], known)
        | variety_dimensions(interactions.plays, users, catalog, known)
        | taste_for_the_popular(sums, known.weight[users])
        | activity_dimensions(done.recent[users])
    )
    with np.errstate(invalid="ignore"):
        return columns, np.nan_to_num(sums[:, _Said.ANY] / known.weight[users])


def scaled_audio(audio: np.ndarray) -> np.ndarray:
    """(n, 12) float64: audio features with loudness, tempo and time signature brought to about 0..1."""
    scaled = audio.copy()
    for column, name in enumerate(AUDIO_NAMES):
        low, width = AUDIO_SCALES.get(name, (0.0, 1.0))
        scaled[:, column] = (scaled[:, column] - low) / width
    return scaled


def audio_dimensions(sums: np.ndarray) -> dict[str, np.ndarray]:
    """`energy_mean`, `energy_spread` and so on, of (n, k) weighted sums.

    Mean and spread (standard deviation) of the scaled feature over the tracks that have it. The key is a point
    on a circle of twelve: its mean is the direction of the mean vector, from 0 to below 1 of the circle and NaN
    where keys cancel out; its spread is 1 minus that vector's length (circular variance; Mardia & Jupp 2000,
    section 2.3).
    """
    total, key = sums[:, _Said.HAS], AUDIO_NAMES.index("key")
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums[:, _Said.VALUE] / total
        spread = np.sqrt(np.maximum(sums[:, _Said.SQUARE] / total - mean**2, 0.0))
        cosine, sine = sums[:, _Said.COSINE] / total[:, key], sums[:, _Said.SINE] / total[:, key]
        length = np.hypot(cosine, sine)
        turn = np.round(np.arctan2(sine, cosine) / (2 * np.pi), 12) % 1.0  # rounded, or C is 0 or 1 by chance
        mean[:, key] = np.where(length > NO_DIRECTION, turn, np.nan)
        spread[:, key] = np.maximum(1.0 - length, 0.0)
    columns = {}
    for position, feature in enumerate(AUDIO_FEATURES):
        columns[f"{feature.name}_mean"] = mean[:, position]
        columns[f"{feature.name}_spread"] = spread[:, position]
    return columns


def top_genres_of(played: sp.csr_matrix, catalog: Catalog, top_genres: int, threads: int = 1) -> np.ndarray:
    """(genres,) bool: the so many genres that most listeners play, ties by name; none that nobody plays."""
    listeners = listeners_of(played, catalog.genres, threads)
    chosen = np.zeros(len(listeners), bool)
    chosen[np.argsort(-listeners, kind="stable")[:top_genres]] = True
    return chosen & (listeners > 0)


def genre_dimensions(
    shares: np.ndarray, rest: np.ndarray, catalog: Catalog, chosen: np.ndarray
) -> dict[str, np.ndarray]:
    """`genre_<name>` for the chosen genres, and `genre_other`, of (n, chosen) weight on each and (n,) on the rest.

    Shares of the weight on tracks that have a genre, a track's weight split evenly among its genres; they sum to 1,
    and are NaN for users none of whose tracks has one. Genres that make one name, "hip hop" and "hip_hop", share it.
    """
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


def rate_dimensions(users: np.ndarray, tracks: np.ndarray, known: _Known) -> dict[str, np.ndarray]:
    """Rates of behaviour, each in [0, 1], NaN where nothing is known of it.

    `skip_rate`, `completion_rate`: over plays whose completion is known. `repeat_rate`: the share of plays that
    were not the first of their track. `discovery_rate`: of the tracks played in the last 30 days, the share
    never played before that.
    """
    done = known.activity
    total = done.known[users]
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "skip_rate": done.skipped[users] / total,
            "completion_rate": done.completion[users].astype(np.float64) / FIXED_POINT / total,
            "repeat_rate": 1.0 - tracks / known.plays[users],
            "discovery_rate": known.fresh[users] / known.recent[users],
        }


def variety_dimensions(
    played: sp.csr_matrix, users: np.ndarray, catalog: Catalog, known: _Known
) -> dict[str, np.ndarray]:
    """`track_variety`, `artist_variety`: 0 when all plays go to one, 1 when all are spread evenly over many.

    Shannon entropy of the shares of plays, divided by the logarithm of the number of plays, which is the most
    it could be; NaN for a single play, and for artists where none is known.
    """
    by_track, of_artists, by_artist = evenness_sums(
        played, users, catalog.artist, len(catalog.artist_names), known.logs
    )
    return {
        "track_variety": _variety(known.plays[users].astype(np.float64), by_track),
        "artist_variety": _variety(of_artists.astype(np.float64), by_artist),
    }


def _variety(total: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """(n,) of the sum of counts and the sum of count · log(count)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        entropy = np.log(total) - logs / total
        return np.where(total > 1, np.clip(entropy / np.log(total), 0.0, 1.0), np.nan)


def popularity_rank(interactions: Interactions) -> np.ndarray:
    """(tracks,) float64: the share of played tracks with fewer listeners, so 0.9 means: among the top tenth."""
    listeners = counted(interactions.plays.indices, interactions.plays.shape[1])
    heard = np.sort(listeners[listeners > 0])
    return np.asarray(np.searchsorted(heard, listeners, side="left") / max(len(heard), 1))


def taste_for_the_popular(sums: np.ndarray, weight: np.ndarray) -> dict[str, np.ndarray]:
    """`popularity_taste`: the weighted mean, over a user's tracks, of the track's popularity in 0..1."""
    with np.errstate(invalid="ignore"):
        return {"popularity_taste": sums[:, _Said.RANK] / weight}


def activity_dimensions(recent: np.ndarray) -> dict[str, np.ndarray]:
    """`plays_per_day_7d`, `_30d`, `_90d`: plays a day over the last so many days."""
    return {f"plays_per_day_{days}d": recent[:, window] / days for window, days in enumerate(WINDOWS_DAYS)}
