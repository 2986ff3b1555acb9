"""Why a track is in a list: what moved it most there comes first, each a fact that can be looked up again."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from features.compute.rows import dense_block, sparse_row
from features.recommend.blend import Standard, names_of
from features.recommend.evidence import Evidence
from features.recommend.facts import Facts, filled
from features.recommend.models.content import Content
from features.recommend.seeds import Moved, blended, moved, parts, says, seeds
from features.recommend.wording import FEATURE_COLUMNS, KINDS, Offer, Words, listeners_in_words

MOST_REASONS = 3
CLOSE_AUDIO = 0.05
"""Two scaled audio features no further apart than this are called close."""
GENRE_SHARE = 0.10
"""From this share of the plays on, a genre is called the user's."""
ARTIST_PLAYS = 2
"""Plays of an artist from which on they are a reason: one may be chance."""
SOON_LISTENERS = 3
"""Listeners who went from one track to another, from which on they are a reason."""
KIND_OF = {
    "user_knn": "neighbors",
    "user_ease": "neighbors",
    "proximity": "soon",
    "proximity_ease": "soon",
    "personal": "own",
    "popular": "popular",
    "late": "",
    "content": "",
}
"""What a model's part in a score is a reason of: "track" for all others; content is taken apart by kind."""


class Explained(NamedTuple):
    """One list's reasons, one to three for each track; and the user's own tracks that moved it most."""

    reasons: list[list[str]]
    seeds: list[int]


class Explainer:
    """Explains lists; made once for a release, since it counts what is said.

    The first reason of a track is of what gave it the most of its blended score, among what there is a fact to name of;
    then come the others that gave something, then facts that gave nothing. That nobody has played a track is said too.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.facts = Facts(evidence)

    def explained(
        self, user: int, row: int, standard: Mapping[str, Standard], lists: Mapping[str, np.ndarray]
    ) -> dict[str, Explained]:
        """Reasons and seeds of one user's lists.

        Args:
            user: their number.
            row: their row in `standard`.
            standard: of all models that the strategies' recipes ask.
            lists: by strategy, (n,) distinct tracks.
        """
        if not lists:
            return {}
        tracks = np.unique(np.concatenate(list(lists.values())))
        of = moved(self.evidence.models, standard, row, user, tracks)
        spread = float(standard["content"].spread[row]) if "content" in standard else 0.0
        offer = self._offer(user, of, spread)
        words = Words(self.facts, user, offer)
        return {
            strategy: self._list(strategy, np.searchsorted(tracks, listed), of, offer, words)
            for strategy, listed in lists.items()
        }

    def _list(self, strategy: str, columns: np.ndarray, of: Moved, offer: Offer, words: Words) -> Explained:
        recipe, degree = self.evidence.recipes[strategy], len(offer.history)
        say, names = says(recipe, degree), names_of(recipe)
        amounts = {kind: np.zeros(len(columns)) for kind in KINDS}
        for name, part in parts(recipe, degree, of).items():
            if kind := KIND_OF.get(name, "track"):
                amounts[kind] += part[columns]
        for kind, part in offer.content.items():
            amounts[kind] += say.get("content", 0.0) * part[columns]
        tracks = offer.tracks[columns]
        other = offer.history[:, None] != tracks[None, :]
        by_track = [name for name in names if KIND_OF.get(name, "track") == "track"]
        by_all = blended(of, say, names, columns)
        track, soon, anything = (
            _strongest(np.where(other, amount, 0.0), offer.history)
            for amount in (
                blended(of, say, by_track, columns),
                blended(of, say, [name for name in names if KIND_OF.get(name) == "soon"], columns),
                by_all,
            )
        )
        track = np.where(track >= 0, track, anything)
        followed, listeners = self._followed(soon, tracks), self.evidence.listeners[tracks]
        possible = {
            "own": offer.own[columns] > 0,
            "neighbors": offer.neighbors[columns] > 0,
            "artist": offer.artist[columns] >= ARTIST_PLAYS,
            "track": track >= 0,
            "soon": followed >= SOON_LISTENERS,
            "album": offer.album[columns] > 0,
            "genre": offer.genre_share[columns] >= GENRE_SHARE,
            "audio": offer.near[columns].any(axis=1),
            "popular": (amounts["popular"] > 0) & (listeners > 0),
        }
        rows = zip(
            *(part.tolist() for part in (columns, track, soon, followed, listeners)),
            *_ordered(amounts, possible),
            strict=True,
        )
        reasons = []
        for column, because, after, times, count, kinds, most in rows:
            texts = []
            for kind in kinds[: min(most, MOST_REASONS - (count == 0))]:
                if kind == "track":
                    texts.append(words.because(because))
                elif kind == "soon":
                    texts.append(words.soon_after(after, times))
                else:
                    texts.append(words.text(kind, column))
            if count == 0 or not texts:
                texts.append(listeners_in_words(count))
            reasons.append(texts)
        return Explained(reasons, seeds(offer.history, by_all.sum(axis=1)))

    def _followed(self, soon: np.ndarray, tracks: np.ndarray) -> np.ndarray:
        """(n,) how many listeners first played each track soon after the one in `soon`; 0 where that is -1."""
        count = np.zeros(len(tracks), np.int64)
        known = np.flatnonzero(soon >= 0)
        if len(known):
            sources, row = np.unique(soon[known], return_inverse=True)
            count[known] = dense_block(self.facts.soon_after, sources, tracks)[row, known]
        return count

    def _offer(self, user: int, of: Moved, spread: float) -> Offer:
        facts, tracks = self.facts, of.tracks
        history, _ = sparse_row(self.evidence.history.weights, user)
        neighbors, least = facts.neighbors_who_play(user)
        heard, album = filled(facts.heard, user)[tracks], facts.album[tracks]
        by_genre = filled(facts.by_genre, user)[facts.genres[tracks]]
        most = np.argmax(by_genre, axis=1)[:, None]
        content: dict[str, np.ndarray] = {}
        like = np.full(len(tracks), -1)
        model = self.evidence.models.get("content")
        if isinstance(model, Content) and spread > 0:
            found = model.parts(user, tracks)
            content = {kind: part / spread for kind, part in found.items() if kind in KINDS}
            other = history[:, None] != tracks[None, :]
            like = _strongest(np.where(other, of.amounts["content"], 0.0), history)
        return Offer(
            tracks,
            history,
            heard,
            neighbors[tracks],
            least[tracks],
            filled(facts.by_artist, user)[self.evidence.dataset.catalog.artist[tracks]],
            filled(facts.by_album, user)[album] - ((heard > 0) & (album >= 0)),
            np.take_along_axis(facts.genres[tracks], most, axis=1)[:, 0],
            np.take_along_axis(by_genre, most, axis=1)[:, 0] / max(int(facts.plays[user]), 1),
            *self._audio(user, tracks, like),
            content,
        )

    def _audio(self, user: int, tracks: np.ndarray, like: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The two features closest to a track of the history where both are close, else to what is usual."""
        audio = self.facts.audio[:, FEATURE_COLUMNS]
        to_track = _closest(np.abs(audio[tracks] - np.where((like >= 0)[:, None], audio[like], np.nan)))
        to_usual = _closest(np.abs(audio[tracks] - self.facts.usual_audio[user, FEATURE_COLUMNS]))
        by_track: np.ndarray = np.all(to_track[1], axis=1)
        features = np.where(by_track[:, None], to_track[0], to_usual[0])
        near = np.where(by_track[:, None], to_track[1], to_usual[1])
        return features, near, np.where(by_track, like, -1)


def _strongest(amounts: np.ndarray, history: np.ndarray) -> np.ndarray:
    """(n,) of (h, n) amounts the track of the history with the most, of equals the lower; -1 for none above 0."""
    if not len(history):
        return np.full(amounts.shape[1], -1)
    best = np.argmax(amounts, axis=0)
    return np.where(amounts[best, np.arange(amounts.shape[1])] > 0, history[best], -1)


def _closest(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) the two least of (n, features) distances, ties to the earlier; and (n, 2) bool whether they are close."""
    closest = np.argsort(distance, axis=1, kind="stable")[:, :2]
    return closest, np.take_along_axis(distance, closest, axis=1) <= CLOSE_AUDIO


def _ordered(
    amounts: Mapping[str, np.ndarray], possible: Mapping[str, np.ndarray]
) -> tuple[list[list[str]], list[int]]:
    """For each track the kinds of its reasons, best first, and how many of them there are.

    What moved the track comes first, by how much; then what did not, in the order of `KINDS`. The user's own plays of
    it, the first of those, are always among them.
    """
    value = np.stack([amounts[kind] for kind in KINDS])
    may = np.stack([possible[kind] for kind in KINDS])
    place = np.arange(len(KINDS), dtype=np.float64)[:, None]
    ranked = np.where(may, np.where(value > 0, value, -1.0 - place), -np.inf)
    last = np.nextafter(np.sort(ranked[1:], axis=0)[-MOST_REASONS], np.inf)
    ranked[0] = np.where(may[0], np.maximum(ranked[0], last), -np.inf)
    order = np.argsort(-ranked, axis=0, kind="stable")[:MOST_REASONS].T.tolist()
    return [[KINDS[kind] for kind in kinds] for kinds in order], may.sum(axis=0).tolist()
