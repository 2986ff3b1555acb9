"""What each knob on the lists costs in nDCG and brings in coverage, novelty and diversity within a list.

`python -m benchmarks.knobs --data FOLDER --cache FOLDER --json OUT.json --plot docs/images/knobs.png [NAME ...]`
takes data sets as `benchmarks.quality.datasets` reads them. Of each the last fifth of every listener's tracks is held
out, models are chosen and fitted on the rest as the nightly job does it, and the hybrid lists are made once for each
setting of each knob, the others as by default or off. `jodie-repeats` lets heard tracks in.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from benchmarks.quality import datasets
from benchmarks.quality.cases import TrackTable, track_ids
from benchmarks.quality.datasets import Listens
from features.compute.dataset import Dataset, StatedTaste
from features.compute.embeddings import content_vectors
from features.compute.ids import Vocabulary
from features.compute.interactions import Feedback, Plays
from features.evaluate.metrics import (
    coverage_at_k,
    intra_list_diversity_at_k,
    ndcg_at_k,
    novelty_at_k,
    recall_at_k,
)
from features.evaluate.splits import Split, hold_out_last
from features.parameters import NightlyParameters
from features.recommend.eligibility import eligible
from features.recommend.evidence import Ranker, fit_ranker
from features.recommend.history import build_history
from features.recommend.rerank import Shaper, standing
from features.recommend.strategies import choose, drawn, fixed

OFF = {"max_per_artist": 0, "diversity": 0.0, "damping": 0.0, "rotation": 0.0, "discovery": 0.0, "exploration": 0.0}
SETTINGS: dict[str, tuple[float, ...]] = {
    "max_per_artist": (20, 10, 5, 3, 2, 1),
    "diversity": (0.05, 0.1, 0.2, 0.3, 0.5, 0.7),
    "damping": (0.05, 0.1, 0.2, 0.3, 0.5, 1.0),
    "rotation": (0.25, 0.5, 0.75, 1.0, 1.5, 2.0),
}
DISCOVERY = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
DAY_MS = 86_400_000
BLOCK_CELLS = 4_000_000
FIRST = 10
"""Places that a listener sees without scrolling."""
NIGHTS = 4
SAMPLE_USERS = 3000


def main() -> None:
    """Measures, prints a table, writes what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=["sample"], metavar="NAME", help=", ".join(LOADERS))
    parser.add_argument("--data", type=Path, help="folder of data sets; the sample needs none")
    parser.add_argument("--cache", type=Path, default=Path("data/quality"), help="where what is fetched is kept")
    parser.add_argument("--fixed", action="store_true", help="the fixed blend, without a choice of models: quicker")
    parser.add_argument("--users", type=int, default=1000, help="whose lists are measured, at most")
    parser.add_argument("--json", type=Path, help="figures, kept and added to by name of the data set")
    parser.add_argument("--plot", type=Path, help="a picture of all that the JSON holds")
    given = parser.parse_args()
    figures = json.loads(given.json.read_text()) if given.json and given.json.exists() else {}
    for name in given.names:
        if name != "sample" and given.data is None:
            parser.error(f"{name} needs --data")
        with threadpool_limits(1, "blas"):
            figures[name] = measured(name, given.data or Path(), given.cache, given.users, chosen=not given.fixed)
        show(name, figures[name])
        if given.json:
            given.json.write_text(json.dumps(figures, indent=1) + "\n")
    if given.plot:
        from benchmarks.knobs_picture import draw

        draw(figures, given.plot)


def measured(name: str, data: Path, cache: Path, most: int, *, chosen: bool) -> dict[str, Any]:
    """By setting, such as `diversity=0.2`, its figures; `off` for all knobs off; and what the models were."""
    repeats = name == "jodie-repeats"
    parameters = NightlyParameters.model_validate({"recommendations": {"include_heard": repeats, **OFF}})
    start = time.perf_counter()
    split, as_of_ms = split_of(LOADERS[name](data, cache), parameters, repeats=repeats)
    if chosen:
        recipes = choose(split.dataset, parameters, as_of_ms=as_of_ms)
    else:
        recipes = fixed(eligible(build_history(split.dataset, split.interactions), parameters))
    ranker = fit_ranker(split.dataset, split.interactions, recipes, parameters)
    users = drawn(split.users, most, 0)
    print(f"{name}: {ranker.history!r}, fitted in {time.perf_counter() - start:.0f} s", flush=True)
    settings: list[dict[str, float]] = [{}] + [{knob: value} for knob in SETTINGS for value in SETTINGS[knob]]
    if repeats:
        settings += [{"discovery": value} for value in DISCOVERY]
    judge = _judge(ranker, split, users, parameters)
    found: dict[str, Any] = {}
    for setting, nights, seconds in _lists(ranker, users, parameters, settings):
        judged = [judge(lists) for lists in nights]
        if not setting:
            off, off_ndcg = nights, judged[0][1]
        change = np.mean([ndcg for _, ndcg in judged], axis=0) - off_ndcg
        each = {name: float(np.mean([figures[name] for figures, _ in judged])) for name in judged[0][0]}
        each |= {
            "ndcg_change": float(change.mean()),
            "ndcg_change_se": float(change.std(ddof=1) / np.sqrt(len(change))),
            "seconds": seconds,
        }
        before = [off[0], *nights[:-1]]
        pairs = list(zip(before, nights, strict=True))
        for figure, k in (("replaced", 100), ("replaced_first", FIRST)):
            each[figure] = float(np.mean([_replaced(*pair, k) for pair in pairs]))
        each["moved_first"] = float(np.mean([(one[:, :FIRST] != other[:, :FIRST]).mean() for one, other in pairs]))
        label = ",".join(f"{knob}={value:g}" for knob, value in setting.items()) or "off"
        found[label] = {figure: round(value, 6) for figure, value in each.items() if not np.isnan(value)}
    return {"users": len(users), "hybrid": recipes["hybrid"].to_dict(), "settings": found}


def _lists(
    ranker: Ranker, users: np.ndarray, parameters: NightlyParameters, settings: list[dict[str, float]]
) -> Iterator[tuple[dict[str, float], list[np.ndarray], float]]:
    """For each setting the lists, and the seconds that shaping took; scores are made once for each block of users.

    With rotation they are those of the nights after a first one, on which the list before is known and nobody listens.
    """
    step = max(1, BLOCK_CELLS // max(len(ranker.dataset.tracks), 1))
    blocks = [users[start : start + step] for start in range(0, len(users), step)]
    include_heard = parameters.recommendations.include_heard
    shapers = []
    for setting in settings:
        how = parameters.recommendations.model_copy(update={"include_heard": include_heard, **setting})
        shapers.append(Shaper.of(ranker, parameters.model_copy(update={"recommendations": how})))
    made: list[list[list[np.ndarray]]] = [[] for _ in settings]
    spent = [0.0] * len(settings)
    for block in blocks:
        usable = ~ranker.filters.forbidden(block, include_heard=include_heard)
        scores = ranker.scores(["hybrid"], block, usable)["hybrid"]
        for number, shaper in enumerate(shapers):
            start = time.perf_counter()
            lists = shaper.lists("hybrid", block, scores).tracks
            spent[number] += time.perf_counter() - start
            nights = [lists]
            for _ in range(NIGHTS if shaper.how.rotation else 0):
                last = {"hybrid": _places(nights[-1], block, ranker)}
                nights.append(replace(shaper, last=last).lists("hybrid", block, scores).tracks)
            made[number].append(nights[1:] or nights)
    together = [[np.concatenate(night) for night in zip(*blocks, strict=True)] for blocks in made]
    yield from zip(settings, together, spent, strict=True)


def _places(lists: np.ndarray, users: np.ndarray, ranker: Ranker) -> sp.csr_matrix:
    row, place = np.nonzero(lists >= 0)
    shape = (len(ranker.dataset.users), len(ranker.dataset.tracks))
    return sp.csr_matrix((standing(place), (users[row], lists[row, place])), shape=shape)


def _judge(
    ranker: Ranker, split: Split, users: np.ndarray, parameters: NightlyParameters
) -> Callable[[np.ndarray], tuple[dict[str, float], np.ndarray]]:
    """A function from lists to their figures and each user's nDCG."""
    kind = parameters.embeddings
    content, _ = content_vectors(ranker.dataset.catalog, dimensions=kind.content_dimensions, seed=kind.seed)
    relevant, known = split.relevant[users], split.interactions.known[users].toarray()
    tracks = len(ranker.dataset.tracks)
    artist = np.append(ranker.dataset.catalog.artist, -1)

    def judge(lists: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
        ndcg = ndcg_at_k(lists, relevant, 100)
        new = ~np.take_along_axis(known, np.maximum(lists, 0), axis=1) & (lists >= 0)
        figures = {
            "ndcg@100": ndcg.mean(),
            "ndcg@10": ndcg_at_k(lists, relevant, 10).mean(),
            "recall@20": recall_at_k(lists, relevant, 20).mean(),
            "coverage": coverage_at_k(lists, 100, tracks),
            "novelty": np.nanmean(novelty_at_k(lists, ranker.listeners, len(ranker.dataset.users), 100)),
            "new": new.sum() / max((lists >= 0).sum(), 1),
        }
        if content.any():
            figures["diversity"] = np.nanmean(intra_list_diversity_at_k(lists, content, 100))
            figures["diversity_first"] = np.nanmean(intra_list_diversity_at_k(lists, content, FIRST))
        if (artist >= 0).any():
            counts = [np.bincount(row[row >= 0]).max(initial=0) for row in artist[lists]]
            figures["most_of_an_artist"] = float(np.mean(counts))
        return {name: float(value) for name, value in figures.items()}, ndcg

    return judge


def _replaced(before: np.ndarray, after: np.ndarray, k: int) -> float:
    """Share of the first k places held by tracks that were not among them before."""
    both = zip(before[:, :k], after[:, :k], strict=True)
    return float(np.mean([1.0 - np.isin(new[new >= 0], old).mean() for old, new in both if (new >= 0).any()]))


def split_of(listens: Listens, parameters: NightlyParameters, *, repeats: bool) -> tuple[Split, int]:
    """The data set as the nightly job numbers it, and what is held out of it; the moment of both."""
    at = np.zeros(len(listens.user), np.int64) if listens.at_ms is None else listens.at_ms
    as_of_ms = int(at.max()) + DAY_MS
    unknown = np.full(len(at), np.nan, np.float32)
    plays = Plays(listens.user.astype(np.int32), listens.item.astype(np.int32), at, unknown)
    whole = _dataset(listens, plays, np.ones(len(at), bool))
    split = hold_out_last(
        whole, as_of_ms=as_of_ms, half_life_days=parameters.interactions.half_life_days, repeats=repeats
    )
    held = np.zeros(len(at), bool) if repeats else np.asarray(split.relevant[listens.user, listens.item]).ravel()
    catalog = _dataset(listens, plays, ~held).catalog  # tags of held-out pairs would tell
    return replace(split, dataset=replace(split.dataset, catalog=catalog)), as_of_ms


def _dataset(listens: Listens, plays: Plays, learned: np.ndarray) -> Dataset:
    users, tracks = listens.shape
    if listens.catalog_of is None:
        catalog = TrackTable().catalog([None] * tracks, [[]] * tracks)
    else:
        catalog = listens.catalog_of(np.flatnonzero(learned))
    nothing = np.zeros(0, np.int32)
    said = Feedback(nothing, nothing, np.zeros(0, object), np.zeros(0), np.zeros(0, np.int64))
    stated = StatedTaste(
        sp.csr_matrix((users, len(catalog.genre_names)), dtype=bool),
        sp.csr_matrix((users, len(catalog.artist_names)), dtype=bool),
        np.full((users, 3), np.nan),
    )
    return Dataset(
        Vocabulary.of([f"user-{number:07d}" for number in range(users)]),
        Vocabulary.of(track_ids(tracks)),
        plays,
        said,
        catalog,
        np.ones(users, bool),
        np.full(users, None, object),
        stated,
        {"plays": 0, "feedback": 0, "acceptances": 0},
    )


def _sample(_data: Path, _cache: Path) -> Listens:
    whole = datasets.sample()
    kept = np.unique(whole.user)[:: max(1, whole.shape[0] // SAMPLE_USERS)]
    rows = np.isin(whole.user, kept)
    number = np.searchsorted(kept, whole.user[rows])
    assert whole.at_ms is not None
    return replace(whole, user=number, item=whole.item[rows], count=whole.count[rows], at_ms=whole.at_ms[rows])


LOADERS: Mapping[str, Callable[[Path, Path], Listens]] = {
    "jodie": lambda data, _: datasets.jodie(data),
    "jodie-repeats": lambda data, _: datasets.jodie(data),
    "ml-100k": lambda _, cache: datasets.movielens(cache),
    "playlists": lambda data, _: datasets.playlists(data),
    "sample": _sample,
}


def show(name: str, figures: Mapping[str, Any]) -> None:
    """A line a setting."""
    print(f"{name}: {figures['users']} users, hybrid of {figures['hybrid']['shares']}")
    columns = ("ndcg@100", "ndcg_change", "ndcg_change_se", "ndcg@10", "coverage", "novelty", "diversity")
    columns += ("diversity_first", "most_of_an_artist", "new", "replaced", "replaced_first", "moved_first")
    print(f"{'':22}" + "".join(f"{column[:10]:>11}" for column in columns))
    for label, values in figures["settings"].items():
        print(f"{label:22}" + "".join(f"{values[c]:11.4f}" if c in values else f"{'–':>11}" for c in columns))


if __name__ == "__main__":
    main()
