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
from features.compute.rows import sparse_row
from features.errors import InputError
from features.evaluate.gate import check_embeddings, check_lists, check_profiles, check_ranges, check_similarity
from features.evaluate.measures import measures
from features.evaluate.ranking import ranking_metrics
from features.parameters import NightlyParameters
from features.progress import Progress, silent
from features.recommend.lists import RankedList, recommend
from features.recommend.scores import Evidence, forbidden
from features.release.manifest import Manifest, code_version, release_folder, release_id
from features.release.reference import Reference
from features.schema.names import AUDIO_NAMES
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
        reference: an earlier release, onto whose embeddings these are turned; part of the id.
        origin: "nightly" or "backfill", for the manifest.

    Raises:
        InputError: there is no play before `as_of`.
        StorageError: the disk is full or read-only; nothing is left behind.
    """
    release = release_id(as_of, parameters, inputs.digest, reference.release if reference else None)
    timings: dict[str, float] = {}
    # BLAS in one thread: sums in another order would make another release of the same inputs
    with threadpool_limits(1, "blas"), whole_folder(release_folder(home, release)) as folder:
        manifest = _build(inputs, folder, parameters, as_of, release, timings, progress, reference, origin)
        write_json(folder / "manifest.json", manifest.to_json())
    return manifest


def _build(
    inputs: Inputs,
    folder: Path,
    parameters: NightlyParameters,
    as_of: datetime,
    release: str,
    timings: dict[str, float],
    progress: Progress,
    reference: Reference | None,
    origin: str,
) -> Manifest:
    as_of_ms = int(as_of.timestamp() * 1000)
    stages = _Stages(timings, progress)
    with stages("numbering"):
        counts = inputs.counts()
        tables = {name: inputs.table(name) for name in counts}
        dataset = build_dataset(tables, as_of_ms=as_of_ms)
        if not len(dataset.plays):
            later = dataset.later["plays"]
            raise InputError(
                f"no plays before {as_of.isoformat()} ({later:,} after it); import some or pass a later --as-of"
            )
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
    evidence = Evidence(dataset, interactions, embeddings, similar.neighbors, similar.common)
    with stages("recommendations"):
        lists, spent_ms = _timed_lists(evidence, parameters, progress)
    with stages("evaluation"):
        metrics = ranking_metrics(dataset, parameters, as_of_ms=as_of_ms) | measures(
            dataset,
            aligned.vectors,
            profiles.users,
            np.array([entry.user for entry in lists], np.int64),
            as_of_ms=as_of_ms,
            known_at_ms=int(inputs.known_at.timestamp() * 1000),
        )
    with stages("checks"):
        checks = [
            *check_profiles(profiles.vectors, profiles.confidence, len(np.unique(dataset.plays.user))),
            check_ranges(profiles.dimensions, profiles.vectors),
            *check_embeddings(aligned.vectors, embeddings.confidence),
            *check_similarity(similar.neighbors, similar.common, similar.jaccard, parameters.similarity.min_common),
            *check_lists(
                [entry.scores for entry in lists],
                [entry.reasons for entry in lists],
                _forbidden_count(evidence, lists, include_heard=parameters.recommendations.include_heard),
                _could_have_lists(interactions),
            ),
        ]
    history_days = int(profiles.history_days.max())
    with stages("writing"):
        outputs = {
            "user_profile": _profile_table(dataset, profiles),
            "track_embedding": _embedding_table(dataset, embeddings, aligned.vectors, history_days),
            "similarity": _similarity_table(dataset, profiles, similar),
            "recommendations": _recommendation_table(dataset, lists, spent_ms),
            "tracks": _track_table(dataset),
        }
        for name, table in outputs.items():
            with translated_storage_errors(folder):
                pq.write_table(
                    table,
                    folder / f"{name}.parquet",
                    compression="zstd",
                    row_group_size=ROW_GROUPS.get(name, 100_000),
                )
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
            **{name: outputs[name].num_rows for name in ROW_GROUPS},
        },
        {
            name: table | ({"later": dataset.later[name]} if name in dataset.later else {})
            for name, table in counts.items()
        },
        [check.to_dict() for check in checks],
        aligned_to=reference.release if reference else None,
        alignment=_defined({"tracks": aligned.tracks, "before": aligned.before, "after": aligned.after}),
        metrics=_defined(metrics),
        origin=origin,
        timings=timings,
    )


def _aligned(dataset: Dataset, embeddings: Embeddings, reference: Reference | None) -> Alignment:
    if reference is None:
        return Alignment(embeddings.vectors, 0, math.nan, math.nan)
    return align(embeddings.vectors, dataset.tracks.ids(), reference.vectors, reference.tracks)


def _defined(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if not math.isnan(value)}


class _Stages:
    """Times each stage and tells of it."""

    def __init__(self, timings: dict[str, float], progress: Progress) -> None:
        self.timings = timings
        self.progress = progress

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.progress(f"computing {name}", 0, None)
        start = time.perf_counter()
        yield
        self.timings[name] = round(time.perf_counter() - start, 3)
        self.progress(f"computing {name}", 1, 1)


def _timed_lists(
    evidence: Evidence, parameters: NightlyParameters, progress: Progress
) -> tuple[list[RankedList], list[float]]:
    """All lists, and for each the milliseconds it took: its block's time by the number of its lists."""
    lists: list[RankedList] = []
    spent: list[float] = []
    start = time.perf_counter()
    for block in recommend(evidence, **parameters.recommendations.model_dump()):
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
            masks = (entry.user, forbidden(evidence, users, include_heard=include_heard)[0])
        count += int(masks[1][entry.tracks].sum())
    return count


def _vectors(matrix: np.ndarray) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(matrix).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1])


def _profile_table(dataset: Dataset, profiles: Profiles) -> pa.Table:
    return pa.table(
        {
            "user_id": [dataset.users[int(user)] for user in profiles.users],
            "vector": _vectors(profiles.vectors),
            "confidence": profiles.confidence,
            "track_count": profiles.track_count,
            "history_days": profiles.history_days,
        }
    )


def _embedding_table(dataset: Dataset, embeddings: Embeddings, vectors: np.ndarray, history_days: int) -> pa.Table:
    tracks = len(dataset.tracks)
    return pa.table(
        {
            "track_id": dataset.tracks.ids(),
            "vector": _vectors(vectors),
            "confidence": embeddings.confidence,
            "listeners": embeddings.listeners,
            "track_count": np.full(tracks, tracks, np.int64),
            "history_days": np.full(tracks, history_days, np.int64),
        }
    )


def _similarity_table(dataset: Dataset, profiles: Profiles, similar: SimilarUsers) -> pa.Table:
    """A row for everyone with a profile, with no neighbours where there are none, so that old ones don't linger."""
    rows = []
    for user in profiles.users:
        filled = similar.neighbors[user] >= 0
        rows.append(
            [
                {
                    "user_id": dataset.users[int(other)],
                    "common_tracks": int(common),
                    "jaccard": float(jaccard),
                }
                for other, common, jaccard in zip(
                    similar.neighbors[user][filled],
                    similar.common[user][filled],
                    similar.jaccard[user][filled],
                    strict=True,
                )
            ]
        )
    neighbor = pa.struct([("user_id", pa.string()), ("common_tracks", pa.int32()), ("jaccard", pa.float64())])
    return pa.table(
        {
            "user_id": [dataset.users[int(user)] for user in profiles.users],
            "neighbors": pa.array(rows, pa.list_(neighbor)),
            "confidence": profiles.confidence,
            "track_count": profiles.track_count,
            "history_days": profiles.history_days,
        }
    )


def _recommendation_table(dataset: Dataset, lists: list[RankedList], spent_ms: list[float]) -> pa.Table:
    ids = dataset.tracks.ids()
    schema = pa.schema(
        [
            ("user_id", pa.string()),
            ("strategy", pa.string()),
            ("track_ids", pa.list_(pa.string())),
            ("scores", pa.list_(pa.float64())),
            ("reasons", pa.list_(pa.list_(pa.string()))),
            ("seeds", pa.list_(pa.string())),
            ("confidence", pa.float64()),
            ("generation_ms", pa.float64()),
        ]
    )
    columns: dict[str, Any] = {
        "user_id": [dataset.users[entry.user] for entry in lists],
        "strategy": [entry.strategy for entry in lists],
        "track_ids": [[ids[track] for track in entry.tracks] for entry in lists],
        "scores": [entry.scores for entry in lists],
        "reasons": [entry.reasons for entry in lists],
        "seeds": [[ids[track] for track in entry.seeds] for entry in lists],
        "confidence": [entry.confidence for entry in lists],
        "generation_ms": spent_ms,
    }
    return pa.table(columns, schema=schema)


def _track_table(dataset: Dataset) -> pa.Table:
    """What documents and readers say of a track: names, genres, audio features."""
    catalog = dataset.catalog
    genres = [
        [catalog.genre_names[genre] for genre in sparse_row(catalog.genres, track)[0]]
        for track in range(len(dataset.tracks))
    ]
    audio = {
        name: pa.array(catalog.audio[:, column], pa.float64(), from_pandas=True)
        for column, name in enumerate(AUDIO_NAMES)
    }
    return pa.table(
        {
            "track_id": dataset.tracks.ids(),
            "name": pa.array(catalog.names.tolist(), pa.string()),
            "artists": pa.array(
                [None if names is None else list(names) for names in catalog.artists], pa.list_(pa.string())
            ),
            "album": pa.array(catalog.albums.tolist(), pa.string()),
            "genres": pa.array(genres, pa.list_(pa.string())),
            **audio,
        }
    )
