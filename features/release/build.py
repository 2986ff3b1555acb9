"""Building a release: a snapshot through compute and recommend into Parquet files and a manifest."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from features.compute.align import Alignment, align
from features.compute.dataset import Dataset, build_dataset
from features.compute.embeddings import Embeddings, build_embeddings
from features.compute.interactions import Interactions, build_interactions
from features.compute.overlaps import SimilarUsers, similar_users
from features.compute.profiles import Profiles, build_profiles
from features.errors import InputError
from features.evaluate.gate import (
    Check,
    check_embeddings,
    check_lists,
    check_profiles,
    check_ranges,
    check_similarity,
)
from features.evaluate.measures import measures
from features.evaluate.ranking import ranking_metrics
from features.evaluate.splits import split_by_time
from features.parameters import NightlyParameters
from features.progress import Progress, silent
from features.recommend.evidence import Evidence, fit_ranker
from features.recommend.lists import RankedList, recommend
from features.recommend.rerank import Shaper
from features.recommend.strategies import choose
from features.release import outputs
from features.release.manifest import Manifest, code_version, release_folder, release_id
from features.release.reference import Reference, unmoved_lists
from features.snapshot.clocks import Inputs
from features.storage import translated_storage_errors, whole_folder, write_json

ROW_GROUPS = {"user_profile": 1000, "track_embedding": 1000, "similarity": 1000, "recommendations": 100}
"""Rows of a Parquet row group, which is also what one step of the upload writes: a few MB of documents."""


def build_release(
    inputs: Inputs,
    home: Path,
    parameters: NightlyParameters,
    as_of: datetime,
    progress: Progress = silent,
    *,
    reference: Reference | None = None,
    origin: str = "nightly",
) -> Manifest:
    """Computes everything and writes it under `home/releases/ID/`, whole or not at all.

    Args:
        inputs: what was known: a snapshot, or what of it was known by a moment.
        home: `$ECHOTUNE_HOME`.
        parameters: part of the release's id.
        as_of: aware; plays and feedback from then on are left out.
        progress: called at each stage.
        reference: an earlier release, onto whose embeddings these are turned, and whose lists are not to be shown again
            to who has done nothing since; part of the id.
        origin: "nightly" or "backfill", for the manifest.

    Raises:
        InputError: there is no play before `as_of`.
        StorageError: the disk is full or read-only; nothing is left behind.
    """
    release = release_id(as_of, parameters, inputs.digest, reference.release if reference else None)
    stages = _Stages(progress)
    # BLAS in one thread: sums in another order would make another release of the same inputs
    with threadpool_limits(1, "blas"), whole_folder(release_folder(home, release)) as folder:
        manifest = _build(inputs, folder, parameters, as_of, release, stages, reference, origin)
        write_json(folder / "manifest.json", manifest.to_json())
    return manifest


def _build(
    inputs: Inputs,
    folder: Path,
    parameters: NightlyParameters,
    as_of: datetime,
    release: str,
    stages: "_Stages",
    reference: Reference | None,
    origin: str,
) -> Manifest:
    as_of_ms = int(as_of.timestamp() * 1000)
    with stages("numbering"):
        dataset, read = _numbered(inputs, as_of, as_of_ms)
    with stages("interactions"):
        interactions = build_interactions(
            dataset.plays,
            dataset.feedback,
            (len(dataset.users), len(dataset.tracks)),
            as_of_ms=as_of_ms,
            half_life_days=parameters.interactions.half_life_days,
        )
    with stages("profiles"):
        profiles = build_profiles(
            interactions,
            dataset.plays,
            dataset.catalog,
            as_of_ms=as_of_ms,
            top_genres=parameters.profiles.top_genres,
        )
    with stages("embeddings"):
        embeddings = build_embeddings(interactions.weights, dataset.catalog, **parameters.embeddings.model_dump())
    with stages("alignment"):
        aligned = _aligned(dataset, embeddings, reference)
    with stages("similar users"):
        similar = similar_users(interactions.plays, **parameters.similarity.model_dump())
    with stages("choosing models"):
        split = split_by_time(
            dataset,
            as_of_ms=as_of_ms,
            holdout_days=parameters.evaluation.holdout_days,
            half_life_days=parameters.interactions.half_life_days,
            repeats=parameters.recommendations.include_heard,
        )
        recipes = choose(split.dataset, parameters, as_of_ms=as_of_ms)
    with stages("models"):
        ranker = fit_ranker(dataset, interactions, recipes, parameters)
    evidence = Evidence.of(ranker, embeddings, similar.neighbors, similar.common)
    with stages("recommendations"):
        shaper = Shaper.of(evidence, parameters, unmoved_lists(reference, dataset, as_of))
        lists, spent_ms = _timed_lists(evidence, shaper, stages.progress)
    with stages("evaluation"):
        listed = np.array([entry.user for entry in lists], np.int64)
        known_at_ms = int(inputs.known_at.timestamp() * 1000)
        metrics = ranking_metrics(split, recipes, parameters) | measures(
            dataset, aligned.vectors, profiles.users, listed, as_of_ms=as_of_ms, known_at_ms=known_at_ms
        )
    with stages("checks"):
        checks = _checks(evidence, profiles, aligned.vectors, similar, lists, parameters)
    history_days = int(profiles.history_days.max())
    with stages("writing"):
        tables = {
            "user_profile": outputs.profile_table(dataset, profiles),
            "track_embedding": outputs.embedding_table(dataset, embeddings, aligned.vectors, history_days),
            "similarity": outputs.similarity_table(dataset, profiles, similar),
            "recommendations": outputs.recommendation_table(dataset, lists, spent_ms),
            "tracks": outputs.track_table(dataset),
        }
        _write(folder, tables)
    return Manifest(
        release,
        as_of,
        inputs.known_at,
        datetime.now(UTC).replace(microsecond=0),
        parameters.model_dump(mode="json", exclude={"gate"}),
        inputs.digest,
        code_version(),
        list(profiles.dimensions),
        {
            "users": len(dataset.users),
            "tracks": len(dataset.tracks),
            "plays": len(dataset.plays),
            "feedback": len(dataset.feedback),
            "pairs": int(interactions.weights.nnz),
            **{name: tables[name].num_rows for name in ROW_GROUPS},
        },
        read,
        [check.to_dict() for check in checks],
        aligned_to=reference.release if reference else None,
        alignment=_defined({"tracks": aligned.tracks, "before": aligned.before, "after": aligned.after}),
        metrics=_defined(metrics),
        strategies={name: recipe.to_dict() for name, recipe in recipes.items()},
        origin=origin,
        timings=stages.timings,
    )


def _numbered(inputs: Inputs, as_of: datetime, as_of_ms: int) -> tuple[Dataset, dict[str, dict[str, Any]]]:
    """The inputs before `as_of` in numbers, and for the manifest what became of each table's documents."""
    read = inputs.counts()
    dataset = build_dataset({name: inputs.table(name) for name in read}, as_of_ms=as_of_ms)
    if not len(dataset.plays):
        later = dataset.later["plays"]
        raise InputError(
            f"no plays before {as_of.isoformat()} ({later:,} after it); import some or pass a later --as-of"
        )
    return dataset, {
        name: table | ({"later": dataset.later[name]} if name in dataset.later else {}) for name, table in read.items()
    }


def _aligned(dataset: Dataset, embeddings: Embeddings, reference: Reference | None) -> Alignment:
    if reference is None:
        return Alignment(embeddings.vectors, 0, math.nan, math.nan)
    return align(embeddings.vectors, dataset.tracks.ids(), reference.vectors, reference.tracks)


def _defined(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if not math.isnan(value)}


def _checks(
    evidence: Evidence,
    profiles: Profiles,
    vectors: np.ndarray,
    similar: SimilarUsers,
    lists: list[RankedList],
    parameters: NightlyParameters,
) -> list[Check]:
    """What the arrays tell of themselves; the gate adds how they stand beside other nights."""
    return [
        *check_profiles(profiles.vectors, profiles.confidence, len(np.unique(evidence.dataset.plays.user))),
        check_ranges(profiles.dimensions, profiles.vectors),
        *check_embeddings(vectors, evidence.embeddings.confidence),
        *check_similarity(similar.neighbors, similar.common, similar.jaccard, parameters.similarity.min_common),
        *check_lists(
            [entry.scores for entry in lists],
            [entry.reasons for entry in lists],
            _forbidden_count(evidence, lists, include_heard=parameters.recommendations.include_heard),
            _could_have_lists(evidence.interactions),
        ),
    ]


def _write(folder: Path, tables: Mapping[str, pa.Table]) -> None:
    for name, table in tables.items():
        with translated_storage_errors(folder):
            rows = ROW_GROUPS.get(name, 100_000)
            pq.write_table(table, folder / f"{name}.parquet", compression="zstd", row_group_size=rows)


class _Stages:
    """Times each stage and tells of it."""

    def __init__(self, progress: Progress) -> None:
        self.timings: dict[str, float] = {}
        self.progress = progress

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.progress(f"computing {name}", 0, None)
        start = time.perf_counter()
        yield
        self.timings[name] = round(time.perf_counter() - start, 3)
        self.progress(f"computing {name}", 1, 1)


def _timed_lists(evidence: Evidence, shaper: Shaper, progress: Progress) -> tuple[list[RankedList], list[float]]:
    """All lists, and for each the milliseconds it took: its block's time by the number of its lists."""
    lists: list[RankedList] = []
    spent: list[float] = []
    start = time.perf_counter()
    for block in recommend(evidence, shaper):
        now = time.perf_counter()
        lists += block
        spent += [round((now - start) * 1000 / max(len(block), 1), 3)] * len(block)
        start = now
        progress("computing recommendations", len(lists), None)
    return lists, spent


def _could_have_lists(interactions: Interactions) -> int:
    """Users with taste and something left to hear: who knows every track there is has no list, and that is right."""
    has_taste = np.diff(interactions.weights.indptr) > 0
    has_more = np.diff(interactions.known.indptr) < interactions.known.shape[1]
    return int((has_taste & has_more).sum())


def _forbidden_count(evidence: Evidence, lists: list[RankedList], *, include_heard: bool) -> int:
    """Recommended tracks that their user must not be shown; looked up again, user by user."""
    count = 0
    masks: tuple[int, np.ndarray] | None = None
    for entry in lists:
        if masks is None or masks[0] != entry.user:
            users = np.array([entry.user])
            masks = (entry.user, evidence.filters.forbidden(users, include_heard=include_heard)[0])
        count += int(masks[1][entry.tracks].sum())
    return count
