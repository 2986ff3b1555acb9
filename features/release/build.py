"""Building a release: a snapshot through compute and recommend into Parquet files and a manifest."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from features.compute.align import Alignment, align
from features.compute.budget import Blocks, Budget, Sizes, blocks_for
from features.compute.dataset import Dataset, build_dataset
from features.compute.embeddings import Embeddings, build_embeddings
from features.compute.heard import Heard
from features.compute.interactions import Interactions, build_interactions, no_plays
from features.compute.numbering import Pieces, marked, ordered
from features.compute.overlaps import similar_users
from features.compute.profiles import Profiles, profiles_in_blocks
from features.compute.runner import Runner, Threads
from features.dates import epoch_ms, to_millisecond
from features.errors import InputError
from features.evaluate.gate import (
    Check,
    check_embeddings,
    check_lists,
    check_profiles,
    check_ranges,
    check_similarity,
)
from features.evaluate.measures import late_plays, measures
from features.evaluate.ranking import ranking_metrics
from features.evaluate.splits import sample_of, split_by_time
from features.measured import Stages
from features.parameters import NightlyParameters
from features.progress import Progress, silent
from features.recommend.eligibility import sized_for
from features.recommend.evidence import Evidence, fit_ranker
from features.recommend.facts import Counts, Facts, heard_lately
from features.recommend.filters import Filters
from features.recommend.history import History, build_history
from features.recommend.lists import ListMaker
from features.recommend.rerank import Shaper
from features.recommend.strategies import choose, still_eligible
from features.release import outputs
from features.release.list_blocks import write_lists
from features.release.manifest import Manifest, code_version, release_folder, release_id
from features.release.reference import Choice, Reference, last_choice, unmoved_lists
from features.release.row_groups import Add, row_groups
from features.snapshot.clocks import Inputs
from features.storage import whole_folder, write_json

ROW_GROUPS = {"user_profile": 1000, "track_embedding": 1000, "similarity": 1000, "recommendations": 500}
"""Rows of a Parquet row group, which is also what one step of the upload writes: a few MB of documents."""
FEW_USERS = 4
"""Times `ranking.closed_form_limit` that a model of users may have of them."""
SIMILAR_ROWS = 20_000
"""Listeners whose neighbours' ids are in memory as texts at once: some 30 MB."""


def build_release(
    inputs: Inputs,
    home: Path,
    parameters: NightlyParameters,
    as_of: datetime,
    progress: Progress = silent,
    *,
    reference: Reference | None = None,
    origin: str = "nightly",
    budget: Budget | None = None,
    runner: Runner | None = None,
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
        budget: of memory and threads; changes nothing but what the build costs.
        runner: of similar users and lists; nor does this. Threads of this process by default.

    Raises:
        InputError: there is no play before `as_of`.
        StorageError: the disk is full or read-only; nothing is left behind.
    """
    release = release_id(as_of, parameters, inputs.digest, reference.release if reference else None)
    stages = Stages(progress)
    # BLAS in one thread: sums in another order would make another release of the same inputs
    with threadpool_limits(1, "blas"), whole_folder(release_folder(home, release)) as folder:
        manifest = _build(
            inputs, folder, parameters, as_of, release, stages, reference, origin, budget or Budget(), runner
        )
        write_json(folder / "manifest.json", manifest.to_json())
    return manifest


def _build(
    inputs: Inputs,
    folder: Path,
    parameters: NightlyParameters,
    as_of: datetime,
    release: str,
    stages: Stages,
    reference: Reference | None,
    origin: str,
    budget: Budget,
    runner: Runner | None,
) -> Manifest:
    as_of_ms = epoch_ms(as_of)
    files = _Files(folder)
    with stages("numbering"):
        dataset, read = _numbered(inputs, as_of, as_of_ms)
    blocks = blocks_for(budget, _sizes(dataset, len(dataset.plays)))  # there are no more pairs than plays
    choice, metrics = _chosen(dataset, parameters, as_of, last_choice(reference, parameters, as_of), stages, blocks)
    recipes = choice.recipes
    with stages("interactions"):
        interactions = build_interactions(
            dataset.plays,
            dataset.feedback,
            (len(dataset.users), len(dataset.tracks)),
            as_of_ms=as_of_ms,
            half_life_days=parameters.interactions.half_life_days,
            threads=budget.threads,
        )
    with stages("profiles"):
        profiles, checks = _profiles(dataset, interactions, parameters, as_of_ms, files, budget.threads)
    history_days = int(profiles.history_days.max())
    with stages("counts"):
        unmoved, plays = unmoved_lists(reference, dataset, as_of), len(dataset.plays)
        late = late_plays(dataset, as_of_ms=as_of_ms, known_at_ms=epoch_ms(inputs.known_at))
        dataset, history, heard = _without_plays(dataset, interactions, parameters)
        history, counts = history.compact(), Counts.of(heard)
        del heard
    blocks = blocks_for(budget, _sizes(dataset, interactions.known.nnz))
    with stages("embeddings"):
        how = parameters.embeddings.model_dump()
        embeddings = build_embeddings(interactions.weights, dataset.catalog, **how, threads=budget.threads)
    with stages("alignment"):
        aligned = _aligned(dataset, embeddings, reference)
        files.write("track_embedding", outputs.embedding_table(dataset, embeddings, aligned.vectors, history_days))
    checks += check_embeddings(aligned.vectors, embeddings.confidence)
    with stages("similar users"):
        neighbors, common, found = _similar(
            dataset, profiles, interactions.plays, parameters, files, blocks, budget, runner
        )
    checks += found
    with stages("models"):
        ranker = fit_ranker(dataset, interactions, recipes, parameters, history).pattern()
    interactions, history = ranker.interactions, ranker.history  # so that nothing holds the weights
    facts = Facts(Evidence.of(ranker, embeddings, neighbors, common), counts)
    threads = Threads(budget.threads)
    with stages("recommendations"):
        shaper = Shaper.of(ranker, parameters, unmoved)
        with files.groups("recommendations", outputs.LISTS) as add:
            faults, listed = write_lists(
                ListMaker(facts, shaper, blocks.cells // threads.workers), add, stages.progress, runner or threads
            )
    checks += check_lists(faults, _could_have_lists(ranker.filters))
    with stages("measures"):
        metrics |= measures(late, aligned.vectors, profiles.users, listed)
        files.write("tracks", outputs.track_table(dataset))
    return Manifest(
        release,
        as_of,
        inputs.known_at,
        to_millisecond(datetime.now(UTC)),
        parameters.model_dump(mode="json", exclude={"gate"}),
        inputs.digest,
        code_version(),
        list(profiles.dimensions),
        {
            "users": len(dataset.users),
            "tracks": len(dataset.tracks),
            "plays": plays,
            "feedback": len(dataset.feedback),
            "pairs": int(interactions.weights.nnz),
            **{name: files.rows[name] for name in ROW_GROUPS},
        },
        read,
        [check.to_dict() for check in checks],
        aligned_to=reference.release if reference else None,
        alignment=_defined({"tracks": aligned.tracks, "before": aligned.before, "after": aligned.after}),
        metrics=_defined(metrics),
        strategies={name: recipe.to_dict() for name, recipe in recipes.items()},
        chosen_as_of=choice.as_of,
        origin=origin,
        timings=stages.timings,
        peak_memory=stages.peak_memory,
    )


def _chosen(
    dataset: Dataset,
    parameters: NightlyParameters,
    as_of: datetime,
    last: Choice | None,
    stages: Stages,
    blocks: Blocks,
) -> tuple[Choice, dict[str, float]]:
    """Which models each strategy blends, and how they rank on a time split; nothing of the split is kept."""
    as_of_ms = epoch_ms(as_of)
    with stages("choosing models"):
        sample = sample_of(dataset, sample_size(parameters), parameters.ranking.seed)
        parameters = sized_for(sample, dataset, parameters)
        split = split_by_time(
            sample,
            as_of_ms=as_of_ms,
            holdout_days=parameters.evaluation.holdout_days,
            half_life_days=parameters.interactions.half_life_days,
            repeats=parameters.recommendations.include_heard,
        )
        if last is not None and still_eligible(last.recipes, split.dataset, parameters, as_of_ms=as_of_ms):
            choice = last
        else:
            choice = Choice(choose(split.dataset, parameters, as_of_ms=as_of_ms), as_of)
    with stages("evaluation"):
        return choice, ranking_metrics(split, choice.recipes, parameters, blocks.cells)


def _profiles(
    dataset: Dataset,
    interactions: Interactions,
    parameters: NightlyParameters,
    as_of_ms: int,
    files: "_Files",
    threads: int,
) -> tuple[Profiles, list[Check]]:
    """Makes and writes profiles, block by block; what is returned has no vectors, which are by far the largest part."""
    profiles, made = profiles_in_blocks(
        interactions,
        dataset.plays,
        dataset.catalog,
        as_of_ms=as_of_ms,
        top_genres=parameters.profiles.top_genres,
        threads=threads,
    )
    with files.groups("user_profile", outputs.profile_table(dataset, profiles, slice(0)).schema) as add:
        for rows in made:
            add(outputs.profile_table(dataset, profiles, rows))
    checks = [
        *check_profiles(profiles.vectors, profiles.confidence, _players(dataset)),
        check_ranges(profiles.dimensions, profiles.vectors),
    ]
    return replace(profiles, vectors=profiles.vectors[:0].copy()), checks  # a slice would keep all of them


def _similar(
    dataset: Dataset,
    profiles: Profiles,
    plays: sp.csr_matrix,
    parameters: NightlyParameters,
    files: "_Files",
    blocks: Blocks,
    budget: Budget,
    runner: Runner | None,
) -> tuple[np.ndarray, np.ndarray, list[Check]]:
    """Finds and writes similar users; (users, k) each, their numbers and how many tracks are in common."""
    how = parameters.similarity
    similar = similar_users(
        plays, **how.model_dump(), threads=budget.threads, shard_users=blocks.shard_users, runner=runner
    )
    with files.groups("similarity", outputs.SIMILAR) as add:
        for start in range(0, len(profiles.users), SIMILAR_ROWS):
            add(outputs.similarity_table(dataset, profiles, similar, slice(start, start + SIMILAR_ROWS)))
    checks = check_similarity(similar.neighbors, similar.common, similar.jaccard, how.min_common)
    return similar.neighbors, similar.common, checks


def _without_plays(
    dataset: Dataset, interactions: Interactions, parameters: NightlyParameters
) -> tuple[Dataset, History, Heard]:
    """The dataset, its history and what was heard, without plays: of all there is they are the most, and no more asked.

    But where heard tracks are let in, the history keeps them: how often counts there.
    """
    heard = heard_lately(ordered(dataset.plays, len(dataset.users)), interactions.plays)
    history = build_history(dataset, interactions)
    history = history if parameters.recommendations.include_heard else history.without_events()
    return replace(dataset, plays=no_plays()), history, heard


def sample_size(parameters: NightlyParameters) -> int:
    """Listeners at most whose histories models are chosen on; 0 for all.

    More than any model for few users is allowed (`eligible`): what is chosen on the sample is fitted on all.
    """
    how = parameters.ranking
    return max(how.sample_users, FEW_USERS * how.closed_form_limit + 1) if how.sample_users else 0


def _numbered(inputs: Inputs, as_of: datetime, as_of_ms: int) -> tuple[Dataset, dict[str, dict[str, Any]]]:
    """The inputs before `as_of` in numbers, and for the manifest what became of each table's documents."""
    read = inputs.counts()
    dataset = build_dataset(
        {name: inputs.table(name) for name in read if name != "plays"}, plays_of(inputs), as_of_ms=as_of_ms
    )
    if not len(dataset.plays):
        later = dataset.later["plays"]
        raise InputError(
            f"no plays before {as_of.isoformat()} ({later:,} after it); import some or pass a later --as-of"
        )
    return dataset, {
        name: table | ({"later": dataset.later[name]} if name in dataset.later else {}) for name, table in read.items()
    }


def plays_of(inputs: Inputs) -> Pieces:
    """The plays of a snapshot, a row group at a time."""
    coded = ("track_name", "artist_name")  # a few distinct ones, again and again, of which few are asked for
    return Pieces(inputs.counts()["plays"]["used"], lambda columns: inputs.blocks("plays", columns, coded))


def _aligned(dataset: Dataset, embeddings: Embeddings, reference: Reference | None) -> Alignment:
    if reference is None:
        return Alignment(embeddings.vectors, 0, math.nan, math.nan)
    return align(embeddings.vectors, dataset.tracks.ids(), reference.vectors, reference.tracks)


def _defined(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if not math.isnan(value)}


def _sizes(dataset: Dataset, pairs: int) -> Sizes:
    return Sizes(len(dataset.users), len(dataset.tracks), len(dataset.plays), pairs)


def _players(dataset: Dataset) -> int:
    """Users with a play."""
    return int(marked(dataset.plays.user, len(dataset.users)).sum())


class _Files:
    """The outputs' Parquet files.

    Attributes:
        folder: of the release.
        rows: how many each holds, by name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[str, int] = {}

    def write(self, name: str, table: pa.Table) -> None:
        """One file, of a table."""
        with self.groups(name, table.schema) as add:
            add(table)

    @contextmanager
    def groups(self, name: str, schema: pa.Schema) -> Iterator[Add]:
        """One file, a table at a time."""
        self.rows[name] = 0
        with row_groups(self.folder / f"{name}.parquet", schema, ROW_GROUPS.get(name, 100_000)) as write:

            def add(table: pa.Table) -> None:
                self.rows[name] += table.num_rows
                write(table)

            yield add


def _could_have_lists(filters: Filters) -> int:
    """Users with taste and something left to hear: who knows every song there is has no list, and that is right."""
    known = filters.interactions.known
    has_taste = np.diff(filters.interactions.weights.indptr) > 0
    has_more = np.diff(known.indptr) + np.diff(filters.known_otherwise.indptr) < known.shape[1]
    return int((has_taste & has_more).sum())
