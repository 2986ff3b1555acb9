"""Features as they were known: each row with those of the newest release that there could have been at its moment."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from features.errors import InputError
from features.release.documents import FEATURE_LIFE
from features.release.entities import EVENT_TIMESTAMP, Entities, EntityRows, entities_of, read_rows
from features.release.feature_references import FeatureReference, by_view, columns_of, resolve
from features.release.manifest import release_folder
from features.release.offline import OfflineRelease
from features.release.retrieval import Features, beside, look_up, schema_of
from features.release.timeline import NONE, Timeline, read_timeline

RELEASE = "release"


def get_historical_features(
    home: Path,
    entity_df: EntityRows,
    features: Sequence[str],
    *,
    ttl: timedelta | None = FEATURE_LIFE,
    full_feature_names: bool = False,
    with_release: bool = False,
) -> Features:
    """Rows for training: each with the features of the newest release that was known at its `event_timestamp`.

    Known means that both clocks had come so far: `as_of` and `known_at` at or before the row's moment. Of those the
    newest is the one with the latest `as_of`, then the latest `known_at`, then the latest `built_at`. A release
    that its gate stopped does not count, unless it was published all the same. No database is asked.

    Args:
        home: `$ECHOTUNE_HOME`, under which the releases are.
        entity_df: a DataFrame, a list of dicts or an Arrow table with `event_timestamp` (without a zone: UTC) and
            `user_id`, `track_id` or both, as the features need; other columns are kept.
        features: such as `user_profile:energy_mean`; `user_profile:*` for all dimensions.
        ttl: how far a release's `as_of` may lie before the row's moment; None for any.
        full_feature_names: columns are `type__name`, not `name`.
        with_release: adds a column `release`, the id of the release that the features are of.

    Raises:
        InputError: a column is missing, a value can't be used, or two features would be one column.
        NotFoundError: no release is on disk, or none of them has such a feature.
        StorageError: a release on disk can't be read.
    """
    timeline = read_timeline(home)
    references = resolve(features, timeline.dimensions)
    needed = list(dict.fromkeys(reference.entity for reference in references))
    rows = read_rows(entity_df, [*needed, EVENT_TIMESTAMP])
    if with_release and RELEASE in rows.column_names:
        raise InputError(f"the rows have a column {RELEASE} already; rename it")
    names = columns_of(references, rows.column_names, full=full_feature_names)
    applies = timeline.at(rows[EVENT_TIMESTAMP].cast(pa.int64()).to_numpy(), ttl)
    entities = {name: entities_of(rows, name) for name in needed}
    found, unknown = _look_up(home, timeline, references, entities, applies)
    if with_release:
        ids = pa.array([release.id for release in timeline.manifests], pa.string())
        rows = rows.append_column(RELEASE, ids.take(pa.array(applies, mask=applies == NONE)))
    return Features(beside(rows, found, names), unknown, int((applies == NONE).sum()))


def _look_up(
    home: Path,
    timeline: Timeline,
    references: Sequence[FeatureReference],
    entities: Mapping[str, Entities],
    applies: np.ndarray,
) -> tuple[pa.Table, dict[str, int]]:
    """Features of each row from the release that applies to it, and how many rows those know nothing of, by view."""
    pieces, unknown = [], Counter[str]()
    for position in np.union1d(applies, NONE):
        rows = pa.array(np.flatnonzero(applies == position))
        of_release = {name: kind.take(rows) for name, kind in entities.items()}
        if position == NONE:
            pieces.append(look_up(_nothing, references, of_release)[0])
            continue
        manifest = timeline.manifests[position]
        release = OfflineRelease(release_folder(home, manifest.id), manifest.dimensions)
        piece, missing = look_up(release.read_view, references, of_release)
        pieces.append(piece)
        unknown.update(missing)
    as_read = np.argsort(applies, kind="stable")  # the rows that the pieces hold, one piece after the other
    found = pa.concat_tables(pieces).combine_chunks().take(pa.array(np.argsort(as_read)))
    return found, {view: unknown[view] for view in by_view(references)}


def _nothing(references: Sequence[FeatureReference], _wanted: pa.Array) -> pa.Table:
    return schema_of(references).empty_table()
