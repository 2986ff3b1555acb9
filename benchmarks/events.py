"""Seeded listening events in three sizes, as arrays on disk that are mapped rather than read.

`python -m benchmarks.events M --folder data/bench` makes those of a hundred thousand listeners, if they are not there.

A small world stands behind them, so that they have what a kernel's cost depends on: artists with a few or many
tracks, some heard by everybody; clusters of artists; listeners with one to four clusters, favourite artists that drift,
and old tracks heard again; a long tail of both. The events of a listener are drawn from a stream of the listener's
own, so neither blocks nor threads change a thing. They are ordered by the minute, as a log is.
"""

import argparse
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit

from features.compute.interactions import Plays
from features.compute.shards import even_ranges, over_shards

END_MS = 1_793_491_200_000
"""2026-11-01 in UTC: all events are before."""
DAYS = 180
MINUTE_MS = 60_000
COLUMNS = {"user": np.int32, "track": np.int32, "played_at": np.int64, "completion": np.float32}
BLOCK_EVENTS = 4_000_000


@dataclass(frozen=True)
class Size:
    """How many there are. Events are about as many: activity is drawn, and nobody has fewer than five."""

    users: int
    tracks: int
    events: int


SIZES = {
    "XS": Size(1_000, 2_500, 150_000),
    "S": Size(10_000, 20_000, 2_000_000),
    "SM": Size(30_000, 45_000, 6_000_000),
    "M": Size(100_000, 100_000, 20_000_000),
    "ML": Size(300_000, 200_000, 50_000_000),
    "L": Size(1_020_000, 384_000, 125_000_000),
}


@dataclass(frozen=True, eq=False)
class World:
    """Tracks stand by artist, artists by cluster.

    Attributes:
        popularity: (tracks + 1,) float64, cumulated from 0 to 1.
        artist_of: (tracks,) int64.
        artists: (artists + 1,) int64, the first track of each.
        clusters: (clusters + 1,) int64, the first track of each.
        number: (tracks,) int32: what a track is called outside, so that numbers tell nothing of artists.
        events: (users + 1,) int64, the first event of each listener.
    """

    popularity: np.ndarray
    artist_of: np.ndarray
    artists: np.ndarray
    clusters: np.ndarray
    number: np.ndarray
    events: np.ndarray


def make_world(size: Size, seed: int) -> World:
    """Artists with few or many tracks, popularity by Zipf, clusters, and how much each listener hears."""
    rng = np.random.default_rng(seed)
    ends = np.cumsum(np.minimum(1 + rng.pareto(1.1, size.tracks), 200).astype(np.int64))
    count = int(np.searchsorted(ends, size.tracks)) + 1
    artists = np.minimum(np.concatenate(([0], ends[:count])), size.tracks)
    artist_of = np.repeat(np.arange(count), np.diff(artists))
    fame = (rng.permutation(count) + 12.0) ** -0.85
    place = np.arange(size.tracks) - artists[artist_of]
    share = fame[artist_of] / (place + 1.0) * rng.lognormal(0, 0.5, size.tracks)
    popularity = np.concatenate(([0.0], np.cumsum(share) / share.sum()))
    clusters = artists[np.linspace(0, count, max(20, int(size.tracks**0.5 / 3)) + 1).astype(np.int64)]
    activity = rng.lognormal(0, 1.1, size.users)
    events = np.clip(np.round(activity / activity.sum() * size.events * 0.97), 5, 20_000).astype(np.int64)
    number = rng.permutation(size.tracks).astype(np.int32)
    return World(popularity, artist_of, artists, clusters, number, np.concatenate(([0], np.cumsum(events))))


@njit(nogil=True, cache=True)
def _uniform(state: np.ndarray) -> float:
    """The next of a stream in [0, 1): splitmix64."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return np.float64(z >> np.uint64(11)) / 9007199254740992.0


@njit(nogil=True, cache=True)
def _drawn(popularity: np.ndarray, low: int, high: int, at: float) -> int:
    """The track of [low, high) at a share `at` of their popularity."""
    goal = popularity[low] + at * (popularity[high] - popularity[low])
    last = high - 1
    while low < last:
        middle = (low + last) >> 1
        if popularity[middle + 1] <= goal:
            low = middle + 1
        else:
            last = middle
    return low


@njit(nogil=True, cache=True)
def _listen(
    start: int,
    stop: int,
    seed: int,
    popularity: np.ndarray,
    artist_of: np.ndarray,
    artists: np.ndarray,
    clusters: np.ndarray,
    events: np.ndarray,
    user: np.ndarray,
    track: np.ndarray,
    played_at: np.ndarray,
    completion: np.ndarray,
) -> None:
    """The events of listeners [start, stop) into the last four, from their place 0 on, by listener and then by time."""
    state = np.empty(1, np.uint64)
    tastes = np.empty(4, np.int64)
    favourites = np.empty(60, np.int64)
    place = 0
    for listener in range(start, stop):
        state[0] = np.uint64(seed) * np.uint64(1000003) + np.uint64(listener) * np.uint64(0xD1342543DE82EF95)
        for _ in range(4):
            _uniform(state)
        n_tastes = 1 + int(_uniform(state) * 4)
        for i in range(n_tastes):
            tastes[i] = int(_uniform(state) ** 1.7 * (len(clusters) - 1))
        heard = events[listener + 1] - events[listener]
        n_favourites = min(60, 3 + int(np.sqrt(heard) * 1.2))
        for i in range(n_favourites):
            taste = tastes[int(_uniform(state) * n_tastes)]
            favourites[i] = artist_of[_drawn(popularity, clusters[taste], clusters[taste + 1], _uniform(state))]
        for i in range(heard):
            kind = _uniform(state)
            if i > 2 and kind < 0.28:  # once more
                chosen = track[place + int(_uniform(state) * i)]
            elif kind < 0.66:  # a favourite, later ones later
                at = int((_uniform(state) ** 1.5 * 0.7 + 0.3 * i / heard) * n_favourites)
                artist = favourites[min(at, n_favourites - 1)]
                chosen = _drawn(popularity, artists[artist], artists[artist + 1], _uniform(state))
            elif kind < 0.88:
                taste = tastes[int(_uniform(state) ** 1.5 * n_tastes)]
                chosen = _drawn(popularity, clusters[taste], clusters[taste + 1], _uniform(state))
            else:
                chosen = _drawn(popularity, 0, len(artist_of), _uniform(state))
            user[place + i] = listener
            track[place + i] = chosen
            played_at[place + i] = END_MS - int((1.0 - (i + _uniform(state)) / heard) * DAYS * 86_400_000) - 1
            whole = _uniform(state)
            completion[place + i] = 1.0 if whole < 0.6 else np.nan if whole < 0.63 else _uniform(state)
        place += heard


@njit(nogil=True, cache=True)
def _into_minutes(minute: np.ndarray, next_place: np.ndarray, place: np.ndarray) -> None:
    """Where each event goes: counting sort, which keeps the order within a minute."""
    for i in range(len(minute)):
        place[i] = next_place[minute[i]]
        next_place[minute[i]] += 1


@njit(nogil=True, cache=True)
def _put(values: np.ndarray, place: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(values)):
        out[place[i]] = values[i]


def write_events(size: Size, folder: Path, *, seed: int = 7, threads: int = 1) -> None:
    """Draws the events a block of listeners at a time into `folder`, whole or not at all: one .npy a column."""
    world = make_world(size, seed)
    total = int(world.events[-1])
    scratch = folder.with_name(f"{folder.name}.scratch")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    drawn = {name: _mapped(scratch / f"drawn-{name}.npy", dtype, total) for name, dtype in COLUMNS.items()}

    def draw(start: int, stop: int) -> None:
        place = slice(int(world.events[start]), int(world.events[stop]))
        block = {name: np.empty(place.stop - place.start, dtype) for name, dtype in COLUMNS.items()}
        parts = (world.popularity, world.artist_of, world.artists, world.clusters, world.events)
        _listen(start, stop, seed, *parts, *block.values())
        block["track"] = world.number[block["track"]]
        for name, values in block.items():
            drawn[name][place] = values

    over_shards(draw, even_ranges(np.diff(world.events), total // BLOCK_EVENTS + 1), threads)
    first = END_MS - DAYS * 86_400_000
    minute = ((drawn["played_at"] - first) // MINUTE_MS).astype(np.int32)
    counts = np.bincount(minute, minlength=DAYS * 1440)
    place = np.empty(total, np.int32)
    _into_minutes(minute, np.cumsum(counts) - counts, place)
    del minute
    for name, dtype in COLUMNS.items():
        _put(drawn.pop(name), place, _mapped(scratch / f"{name}.npy", dtype, total))
        (scratch / f"drawn-{name}.npy").unlink()
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)


def _mapped(path: Path, dtype: type, length: int) -> np.ndarray:
    return np.lib.format.open_memmap(path, "w+", np.dtype(dtype), (length,))


def open_events(folder: Path) -> Plays:
    """The events of a folder, mapped: nothing is read before it is asked for."""
    return Plays(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in COLUMNS})


def events_of(name: str, root: Path, *, seed: int = 7) -> tuple[Plays, Size]:
    """The events of a size in `SIZES` under `root`, made where they are missing."""
    folder = root / f"events-{name}-{seed}"
    if not folder.is_dir():
        write_events(SIZES[name], folder, seed=seed, threads=2)
    return open_events(folder), SIZES[name]


def main() -> None:
    """Makes what is asked for and says how much it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sizes", nargs="+", choices=sorted(SIZES))
    parser.add_argument("--folder", type=Path, default=Path("data/bench"))
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    for name in given.sizes:
        began = time.perf_counter()
        plays, size = events_of(name, given.folder, seed=given.seed)
        spent = time.perf_counter() - began
        print(f"{name}: {len(plays):,} events of {size.users:,} users, {size.tracks:,} tracks, {spent:.1f} s")


if __name__ == "__main__":
    main()
