"""How lists fare where there is little to go by: short histories, tracks few have heard, newcomers.

`python -m benchmarks.cold_start --data FOLDER --cache FOLDER [--only PART] [NAME ...]` takes data sets as
`benchmarks.quality.datasets` reads them. Parts: `evidence` cuts the histories of asked listeners to their first tracks
and sets hybrid beside collaborative; `kinds` places tracks that nobody has heard by one kind of knowledge alone, and by
all but one (playlists); `stated` makes lists of stated tastes (playlists); `market` draws lists of few to those of all
(playlists, each genre as a country).
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from benchmarks.quality.cases import NEVER_DAYS, Case, Split, first_listens_case
from benchmarks.quality.datasets import load, sample
from benchmarks.quality.measure import lists_of
from benchmarks.quality.ours import lists_by, strategies
from features.compute.dataset import Dataset, StatedTaste
from features.compute.interactions import Interactions, Plays, build_interactions
from features.compute.topk import top_k
from features.evaluate.bootstrap import bootstrap
from features.evaluate.metrics import ndcg_at_k
from features.recommend.blend import Recipe, standard_scores, standardized
from features.recommend.cold import Markets
from features.recommend.evidence import Evidence, Ranker
from features.recommend.history import build_history, shortened
from features.recommend.models.content import Content
from features.recommend.stated import stated_scores

PARTS = ("evidence", "kinds", "stated", "market")
NAMES = ("playlists", "ml-100k", "hetrec", "sample", "jodie")
LENGTHS = (1, 2, 4, 8, 16)
"""Tracks that histories are cut to; half of the asked listeners keep theirs."""
HISTORIES = ((1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, None))
HEARD_BY = ((0, 0), (1, 1), (2, 4), (5, 19), (20, None))
KINDS = ("artist", "album", "genre", "title", "audio", "age", "popularity", "heard")
SILENT = {kind: {kind: 0.0} for kind in KINDS} | {"popularity": {"popularity": 0.0, "appeal": 0.0}}
"""The content model's parameters by which it does without a kind."""
WHOLE = np.iinfo(np.int64).max
SAMPLE_USERS = 2_000
NEW_SHARE = 0.2
SEED = 20_260_101
K = 100


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--data", type=Path, required=True, help="folder of data sets")
    parser.add_argument("--cache", type=Path, default=Path("data/quality"), help="where what is fetched is kept")
    parser.add_argument("--only", action="append", choices=PARTS, help="of all parts; may be given again")
    given = parser.parse_args()
    if unknown := sorted(set(given.names) - set(NAMES)):
        parser.error(f"no data set {unknown[0]!r}; there are {', '.join(NAMES)}")
    parts = given.only or PARTS
    with threadpool_limits(1):
        if "kinds" in parts:
            kinds(load("playlists-cold", given.data, given.cache))
        if "stated" in parts:
            stated(given.data, given.cache)
        if "market" in parts:
            market(given.data, given.cache)
        for name in (given.names or NAMES) if "evidence" in parts else ():
            evidence(name, given.data, given.cache)


def evidence(name: str, data: Path, cache: Path) -> None:
    """Hybrid beside collaborative by how much is known."""
    split, whole = cut(case_of(name, data, cache).test)
    ranker, seconds = strategies(split, {})
    users, relevant = split.users, split.asked[split.users]
    lists = {strategy: lists_by(ranker, strategy, split) for strategy in ("collaborative", "hybrid")}
    print(f"\n{name}: {split!r}, {seconds:.0f} CPU seconds")
    for strategy in lists:
        recipe = ranker.recipes[strategy]
        print(f"  {strategy}: {said(recipe)}")
        if recipe.evidence_tracks > 0:
            print(f"    for few tracks, steps back from {recipe.evidence_tracks:g} on: {said(recipe.little)}")
    degree, listeners = split.history.degree[users], split.history.listeners
    show("tracks in the history", [(label(span), within(degree, span), relevant) for span in HISTORIES], lists)
    spans = [(label(span), whole[users], only(relevant, within(listeners, span))) for span in HEARD_BY]
    show("listeners, of tracks taken to", spans, lists)


def show(title: str, groups: Sequence[tuple[str, np.ndarray, sp.csr_matrix]], lists: Mapping[str, np.ndarray]) -> None:
    """A row a group: users, nDCG of each strategy, and what the last is ahead of the first by."""
    names = list(lists)
    print(f"  {title:<32}{'users':>6}" + "".join(f"{name:>15}" for name in names) + f"{'ahead by':>12}  95 %")
    for text, chosen, relevant in groups:
        asked = np.flatnonzero(chosen & (np.diff(relevant.indptr) > 0))
        if not len(asked):
            continue
        figures = np.array([ndcg_at_k(lists[name][asked], relevant[asked], K) for name in names])
        means = bootstrap(np.vstack([figures, figures[-1] - figures[0]]).T, seed=SEED)
        row = "".join(f"{mean:>15.4f}" for mean in means.mean[:-1])
        interval = f"[{means.low[-1]:+.4f}, {means.high[-1]:+.4f}]"
        print(f"  {text:<32}{len(asked):>6}{row}{means.mean[-1]:>+12.4f}  {interval}", flush=True)


def said(recipe: Recipe) -> str:
    """The part of each model in the score of a track that stands out."""
    return ", ".join(f"{model} {recipe.say(model):.2f}" for model in recipe.shares)


def case_of(name: str, data: Path, cache: Path) -> Case:
    """A data set; of playlists all tracks together, of the sample so many users."""
    if name == "playlists":
        warm = load("playlists-warm", data, cache)
        return Case(name, name, warm.validation, replace(warm.test, candidates=np.ones_like(warm.test.candidates)))
    if name == "sample":
        whole = sample()
        rows = whole.user < SAMPLE_USERS
        at_ms = None if whole.at_ms is None else whole.at_ms[rows]
        some = replace(whole, user=whole.user[rows], item=whole.item[rows], count=whole.count[rows], at_ms=at_ms)
        return first_listens_case(name, name, some)
    return load(name, data, cache)


def cut(split: Split) -> tuple[Split, np.ndarray]:
    """Of each asked listener only the first tracks, so many as is drawn; and (users,) bool, whose are whole."""
    history, rng = split.history, np.random.default_rng(SEED)
    keeps = np.full(len(history.degree), WHOLE)
    keeps[split.users] = rng.choice([*LENGTHS, *[WHOLE] * len(LENGTHS)], len(split.users))
    kept = shortened(history, keeps, SEED).weights
    plays = split.dataset.plays
    return learned(split, np.asarray(kept[plays.user, plays.track]).ravel() > 0), keeps == WHOLE


def learned(split: Split, rows: np.ndarray) -> Split:
    """The split with only these plays to learn from."""
    plays = split.dataset.plays
    left = Plays(plays.user[rows], plays.track[rows], plays.played_at[rows], plays.completion[rows])
    dataset = replace(split.dataset, plays=left)
    history = build_history(dataset, interactions_of(dataset, split))
    return replace(split, dataset=dataset, history=replace(history, catalog=split.history.catalog))


def interactions_of(dataset: Dataset, split: Split) -> Interactions:
    """Interactions that do not fade."""
    return build_interactions(
        dataset.plays,
        dataset.feedback,
        split.history.weights.shape,
        as_of_ms=split.as_of_ms,
        half_life_days=NEVER_DAYS,
    )


def kinds(case: Case) -> None:
    """What is known of a track that nobody has heard: each kind alone, and all but one, on validation and test."""
    print("\ntracks nobody has heard, placed by (nDCG@100 on playlists)")
    print(f"  {'kind':<14}{'alone':>12}{'test':>8}{'all but it':>14}{'test':>8}")
    both = (case.validation, case.test)
    for kind in KINDS:
        without = {name: value for other in KINDS if other != kind for name, value in SILENT[other].items()}
        # tracks heard in common liken users alone: by themselves they place nothing that nobody has heard
        alone = [figure(split, without) for split in both] if kind != "heard" else [np.nan] * 2
        show_kind(kind, alone, [figure(split, SILENT[kind]) for split in both])
    silent = [replace(split, history=replace(split.history, stated=None)) for split in both]
    show_kind("stated", [np.nan] * 2, [figure(split, {}) for split in silent])
    show_kind("all", [figure(split, {}) for split in both], [np.nan] * 2)


def show_kind(kind: str, alone: Sequence[float], without: Sequence[float]) -> None:
    """A row: by the kind alone, and by all but it, on validation and test."""
    print(f"  {kind:<14}{alone[0]:>12.4f}{alone[1]:>8.4f}{without[0]:>14.4f}{without[1]:>8.4f}", flush=True)


def figure(split: Split, parameters: Mapping[str, float]) -> float:
    """Mean nDCG@100 of the content model."""
    lists = lists_of(Content(**parameters).fit(split.history), split)
    return float(np.nanmean(ndcg_at_k(lists, split.asked[split.users], K)))


def stated(data: Path, cache: Path) -> None:
    """Lists of what newcomers stated: the rule of thumb, the content kernel, both, and what is popular."""
    whole = load("playlists-warm", data, cache).test
    users = np.flatnonzero(np.random.default_rng(SEED).random(len(whole.history.degree)) < NEW_SHARE)
    known = whole.history.weights[users].astype(bool).tocsr()
    split = learned(whole, ~np.isin(whole.dataset.plays.user, users))
    for named in (0, 3):
        taste = _naming(split.dataset, users, known, named)
        dataset = replace(split.dataset, stated=taste)
        interactions = interactions_of(dataset, split)
        history = build_history(dataset, interactions)
        usable = np.ones((len(users), len(dataset.tracks)), bool)
        kernel = standard_scores("content", Content().fit(history), users, usable, history.listeners)
        ranker = Ranker(dataset, interactions, history, {}, {})
        # without models: the rule of thumb by itself
        rule = standardized(stated_scores(cast("Evidence", ranker), users))
        fame = standardized(np.tile(np.log1p(history.listeners.astype(float)), (len(users), 1)))
        low = np.where(np.isfinite(kernel), np.maximum(kernel, -5.0), -5.0)
        lists = {
            "rule": rule,
            "popular": fame,
            "kernel": kernel,
            "kernel, fame": low + 0.3 * fame,
            "rule, kernel": np.where(np.isfinite(rule), rule + low, -np.inf),
            "all three": np.where(np.isfinite(rule), rule + low + 0.3 * fame, -np.inf),
        }
        everybody = np.ones(len(users), bool)
        text = f"genres and {named} artists stated"
        for name, scores in lists.items():
            both = {"rule": top_k(rule, K), name: top_k(scores, K)} if name != "rule" else {"rule": top_k(rule, K)}
            show(text, [(name, everybody, known)], both)


def _naming(dataset: Dataset, users: np.ndarray, known: sp.csr_matrix, count: int) -> StatedTaste:
    """What is stated, and by these users so many artists of their own, by chance."""
    rng, artists = np.random.default_rng(SEED), dataset.stated.artists.tolil()
    for row, user in enumerate(users):
        own = np.unique(dataset.catalog.artist[known.indices[known.indptr[row] : known.indptr[row + 1]]])
        own = own[own >= 0]
        artists[user, rng.permutation(own)[:count]] = True
    return replace(dataset.stated, artists=artists.tocsr())


def market(data: Path, cache: Path) -> None:
    """What is popular at home: each playlist genre as a country, drawn to everywhere by so many listeners."""
    whole = load("playlists-warm", data, cache).test
    genres = np.asarray(whole.dataset.stated.genres.argmax(axis=1)).ravel()
    rng = np.random.default_rng(SEED)
    users = np.flatnonzero(rng.random(len(genres)) < NEW_SHARE)
    known = whole.history.weights[users].astype(bool).tocsr()
    split = learned(whole, ~np.isin(whole.dataset.plays.user, users))
    print("\nwhat is popular at home (nDCG@100); a stranger's share of listeners in each country grows to the right")
    shares = (0.0, 0.5, 0.8, 0.9)
    print(f"  {'drawn by':<12}" + "".join(f"{share:>10.0%}" for share in shares))
    for drawn_by in (0.0, 5.0, 20.0, 50.0, 200.0, 1e9):
        row = []
        for share in shares:
            astray = np.random.default_rng(SEED).random(len(genres)) < share
            lives = np.where(astray, np.random.default_rng(1).permutation(genres), genres)
            country = np.array([f"c{number}" for number in lives], object)
            dataset = replace(split.dataset, country=country)
            markets = Markets.of(dataset, interactions_of(dataset, split))
            scores = markets.scores_of(country[users], home_listeners=drawn_by)
            row.append(float(np.nanmean(ndcg_at_k(top_k(scores, K), known, K))))
        print(f"  {drawn_by:<12g}" + "".join(f"{figure:>10.4f}" for figure in row), flush=True)


def label(span: tuple[int, int | None]) -> str:
    """How a span of numbers is written."""
    low, high = span
    return f"{low}+" if high is None else str(low) if low == high else f"{low}-{high}"


def within(values: np.ndarray, span: tuple[int, int | None]) -> np.ndarray:
    """(n,) bool."""
    low, high = span
    return (values >= low) & (values <= (np.inf if high is None else high))


def only(relevant: sp.csr_matrix, tracks: np.ndarray) -> sp.csr_matrix:
    """The same of some tracks alone."""
    kept = relevant.multiply(tracks[None, :]).tocsr().astype(bool)
    kept.eliminate_zeros()
    kept.sort_indices()
    return kept


if __name__ == "__main__":
    main()
