"""Histories by chance for tests of models."""

import numpy as np

from features.compute.dataset import build_dataset
from features.compute.interactions import build_interactions
from features.recommend.history import History, build_history
from features.schema.names import AUDIO_NAMES
from tests.worlds import AS_OF, account, play, said, tables, track


def random_history(
    seed: int, *, users: int = 30, tracks: int = 40, plays: int = 400, silent: int = 0, refused: int = 0
) -> History:
    """Listeners of two tastes; the first `silent` of them played nothing, and so many pairs are disliked or skipped."""
    rng = np.random.default_rng(seed)
    who = rng.integers(silent, users, plays)
    what = (rng.integers(0, tracks // 2, plays) * 2 + (who % 2) * (rng.random(plays) < 0.85)) % tracks
    world = tables(
        plays=[
            play(f"u{user:03d}", f"t{song:03d}", days_ago=float(ago))
            for user, song, ago in zip(who, what, rng.uniform(0.1, 90, plays), strict=True)
        ],
        feedback=[
            said(f"u{rng.integers(users):03d}", f"t{rng.integers(tracks):03d}", ("dislike", "skip")[number % 2])
            for number in range(refused)
        ],
        tracks=[
            track(
                f"t{song:03d}",
                f"artist {song % 7}",
                [f"genre {song % 3}"],
                album=f"album {song % 14 // 2}",  # two artists have an album of each name
                **{name: float(rng.random()) for name in AUDIO_NAMES if name not in ("key", "mode", "time_signature")},
            )
            for song in range(tracks)
        ],
        users=[account(f"u{user:03d}") for user in range(users)],
    )
    dataset = build_dataset(world, as_of_ms=AS_OF)
    shape = (len(dataset.users), len(dataset.tracks))
    interactions = build_interactions(dataset.plays, dataset.feedback, shape, as_of_ms=AS_OF, half_life_days=180.0)
    return build_history(dataset, interactions)
