"""The benchmarks' events: the same for any blocks and threads, and as the docstring says they are."""

import numpy as np
import pytest

from benchmarks import events
from benchmarks.events import COLUMNS, DAYS, END_MS, MINUTE_MS, Size, open_events, write_events

SIZE = Size(users=300, tracks=500, events=20_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("events") / "made"
    write_events(SIZE, folder, seed=3)
    return folder


def test_blocks_and_threads_change_nothing_and_a_seed_all(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(events, "BLOCK_EVENTS", 1000)
    write_events(SIZE, tmp_path / "again", seed=3, threads=2)
    write_events(SIZE, tmp_path / "other", seed=4)
    for name in COLUMNS:
        made = (folder / f"{name}.npy").read_bytes()
        assert (tmp_path / "again" / f"{name}.npy").read_bytes() == made
        assert (tmp_path / "other" / f"{name}.npy").read_bytes() != made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "other"]


def test_events_are_within_their_sizes_and_in_order_of_time(folder):
    plays = open_events(folder)
    assert [column.dtype for column in vars(plays).values()] == list(COLUMNS.values())
    assert 0.9 * SIZE.events < len(plays) < 1.1 * SIZE.events
    assert np.bincount(plays.user, minlength=SIZE.users).min() >= 5
    assert 0 <= plays.track.min() <= plays.track.max() < SIZE.tracks
    first = END_MS - DAYS * 86_400_000
    assert first <= plays.played_at.min() <= plays.played_at.max() < END_MS
    assert (np.diff((plays.played_at - first) // MINUTE_MS) >= 0).all()
    heard = plays.completion[~np.isnan(plays.completion)]
    assert 0 < np.isnan(plays.completion).mean() < 0.1
    assert 0 <= heard.min() <= heard.max() <= 1
