"""Reasons in plain English, each made from a fact that can be looked up again."""

from dataclasses import dataclass

import numpy as np

from features.compute.profiles import scaled_audio
from features.compute.rows import sparse_row
from features.recommend.evidence import Evidence
from features.schema.names import AUDIO_NAMES

MOST_REASONS = 3
CLOSE_SIMILARITY = 0.5
"""From this cosine of the embeddings on, a track is called close to another."""
CLOSE_AUDIO = 0.05
"""Two scaled audio features no further apart than this are called close."""
GENRE_SHARE = 0.10
"""From this share of the plays on, a genre is called the user's."""
FEATURE_WORDS = {
    "energy": "energy",
    "tempo": "tempo",
    "valence": "mood",
    "danceability": "danceability",
    "acousticness": "acousticness",
    "instrumentalness": "instrumentalness",
    "loudness": "loudness",
}
FEATURE_COLUMNS = [AUDIO_NAMES.index(name) for name in FEATURE_WORDS]
ORDER = {
    "collaborative": ("neighbors", "artist", "seed"),
    "content-based": ("artist", "genre", "audio", "seed"),
    "hybrid": ("neighbors", "artist", "seed", "genre", "audio"),
    "popular": ("popular",),
}


@dataclass(frozen=True, eq=False)
class Taste:
    """What is known of one user, ready for explaining.

    Attributes:
        history: (h,) int32, tracks with weight, ascending.
        plays: (tracks,) int32, how often the user played each.
        artist_plays: (artists,) int64.
        genre_share: (genres,) float64, the share of the user's plays that are of the genre; NaN without plays.
        audio_mean: (12,) float64, mean of the scaled features over the user's plays; NaN unknown.
        neighbor_plays: (tracks,) int64, how many of the user's similar users played each.
        neighbors: how many similar users there are.
    """

    history: np.ndarray
    plays: np.ndarray
    artist_plays: np.ndarray
    genre_share: np.ndarray
    audio_mean: np.ndarray
    neighbor_plays: np.ndarray
    neighbors: int


class Explainer:
    """Explains lists; made once for a release, since it scales the catalogue's audio."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.audio = scaled_audio(evidence.dataset.catalog.audio)
        self.genres = evidence.dataset.catalog.genres.astype(np.int64)

    def taste(self, user: int) -> Taste:
        """Gathers what the reasons for one user draw on."""
        actions, catalog = self.evidence.interactions, self.evidence.dataset.catalog
        history, _ = sparse_row(actions.weights, user)
        played, counts = sparse_row(actions.plays, user)
        plays = np.zeros(actions.plays.shape[1], np.int32)
        plays[played] = counts
        by_artist = catalog.artist[played] >= 0
        similar = self.evidence.neighbors[user]
        similar = similar[similar >= 0]
        neighbor_tracks = [sparse_row(actions.plays, int(other))[0] for other in similar]
        return Taste(
            history,
            plays,
            np.bincount(
                catalog.artist[played][by_artist], counts[by_artist], minlength=len(catalog.artist_names)
            ).astype(np.int64),
            *self._genres_and_audio(played, counts),
            np.bincount(np.concatenate([np.zeros(0, np.int64), *neighbor_tracks]), minlength=len(plays)),
            len(similar),
        )

    def reasons(self, strategy: str, taste: Taste, tracks: np.ndarray) -> list[list[str]]:
        """One to three reasons for each track, the strategy's own kind first."""
        kinds = {
            "neighbors": self._neighbors,
            "artist": self._artist,
            "genre": self._genre,
            "popular": self._popular,
        }
        nearest, similarity = self._nearest(taste, tracks)
        audio = self._audio(taste, tracks)
        found = []
        for position, track in enumerate(tracks):
            texts: list[str] = []
            for kind in ORDER[strategy]:
                if kind == "seed":
                    text = self._seed(taste, int(nearest[position]), float(similarity[position]))
                elif kind == "audio":
                    text = audio[position]
                else:
                    text = kinds[kind](taste, int(track))
                texts += [text] if text else []
                if len(texts) == MOST_REASONS:
                    break
            found.append(texts or [self._popular(taste, int(track))])
        return found

    def _genres_and_audio(self, played: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shares of plays by genre and means of the scaled audio features over plays, NaN where nothing is known.

        They count plays and not weights, since that is what "what you play" says.
        """
        audio = self.audio[played]
        known = ~np.isnan(audio)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (counts @ np.where(known, audio, 0.0)) / (counts @ known)
            return (self.genres[played].T @ counts) / counts.sum(), mean

    def label(self, track: int) -> str:
        """A track as a person would name it; its id where nothing better is known."""
        catalog = self.evidence.dataset.catalog
        name, artists = catalog.names[track], catalog.artists[track]
        if name is None:
            return f"track {self.evidence.dataset.tracks[track]}"
        return f"“{name}” by {artists[0]}" if artists else f"“{name}”"

    def _nearest(self, taste: Taste, tracks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each track the closest one of the history by embedding, another than itself; -1 for none."""
        vectors = self.evidence.embeddings.vectors
        if not len(taste.history) or not len(tracks):
            return np.full(len(tracks), -1), np.zeros(len(tracks))
        similarity = vectors[tracks] @ vectors[taste.history].T
        similarity[tracks[:, None] == taste.history[None, :]] = -np.inf
        best = np.argmax(similarity, axis=1)
        values = similarity[np.arange(len(tracks)), best]
        return np.where(np.isneginf(values), -1, taste.history[best]), values

    def _neighbors(self, taste: Taste, track: int) -> str | None:
        count = int(taste.neighbor_plays[track])
        if count == 0:
            return None
        if taste.neighbors == 1:
            return "The listener closest to you plays it"
        verb = "plays" if count == 1 else "play"
        return f"{count} of the {taste.neighbors} listeners closest to you {verb} it"

    def _artist(self, taste: Taste, track: int) -> str | None:
        artist = self.evidence.dataset.catalog.artist[track]
        count = int(taste.artist_plays[artist]) if artist >= 0 else 0
        if count < 2:
            return None
        name = self.evidence.dataset.catalog.artist_names[int(artist)]
        return f"By {name}, whom you have played {count} times"

    def _genre(self, taste: Taste, track: int) -> str | None:
        genres, _ = sparse_row(self.evidence.dataset.catalog.genres, track)
        best = max(genres.tolist(), key=taste.genre_share.__getitem__, default=None)
        share = 0.0 if best is None else float(taste.genre_share[best])
        if best is None or not share >= GENRE_SHARE:  # not NaN either
            return None
        return f"{self.evidence.dataset.catalog.genre_names[best].capitalize()} is {share:.0%} of what you play"

    def _audio(self, taste: Taste, tracks: np.ndarray) -> list[str | None]:
        """For all tracks at once: the one or two features closest to the user's mean, where they are close."""
        distance = np.abs(self.audio[tracks] - taste.audio_mean)[:, FEATURE_COLUMNS]
        closest = np.argsort(distance, axis=1, kind="stable")[:, :2]
        close = np.take_along_axis(distance, closest, axis=1) <= CLOSE_AUDIO
        words = list(FEATURE_WORDS.values())
        texts = [
            " and ".join(words[feature] for feature, near in zip(features, are_close, strict=True) if near)
            for features, are_close in zip(closest.tolist(), close.tolist(), strict=True)
        ]
        return [f"Close in {text} to what you usually play" if text else None for text in texts]

    def _seed(self, taste: Taste, seed: int, similarity: float) -> str | None:
        if seed < 0 or similarity <= 0.0:
            return None
        times = {0: "which you liked, saved or replayed", 1: "which you played once"}
        known = times.get(int(taste.plays[seed]), f"which you played {taste.plays[seed]} times")
        if similarity >= CLOSE_SIMILARITY:
            return f"Close to {self.label(seed)}, {known}"
        return f"Of your music, nearest to {self.label(seed)}, {known}"

    def _popular(self, _taste: Taste, track: int) -> str:
        count = int(self.evidence.listeners[track])
        if count == 0:
            return "Nobody has played it yet"
        return "Played by one listener" if count == 1 else f"Played by {count:,} listeners"
