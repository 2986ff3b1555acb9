"""What a reader gets for many entities at once, and how features that were read are put beside the rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from features.release.entities import Entities
from features.release.feature_references import FeatureReference, by_view

if TYPE_CHECKING:
    import pandas as pd

ENTITY = "entity"
"""The column of ids in what was read of a view; the others are named as their features."""
SHOWN = 8
"""Columns that a repr names."""


@dataclass(frozen=True, repr=False)
class Features:
    """Rows with their features, in the order that was asked.

    A feature is null where its entity or its release is not known, or where the release has no such dimension; NaN
    where the release says that it is undefined, such as the energy of unmeasured tracks.

    Attributes:
        table: the rows' own columns, then one a feature.
        unknown: how many rows have an entity that the release does not know, by type; for recommendations by
            strategy, since not everyone has a list of each.
        without_release: how many rows no release applies to, because none had been made or all were too old.
    """

    table: pa.Table
    unknown: Mapping[str, int]
    without_release: int = 0

    def __repr__(self) -> str:
        shown, more = self.table.column_names[:SHOWN], self.table.num_columns - SHOWN
        columns = ", ".join([*shown, *([f"{more} more"] if more > 0 else [])])
        lacking = [f"{count:,} without {view}" for view, count in self.unknown.items() if count]
        lacking += [f"{self.without_release:,} without a release"] if self.without_release else []
        return f"Features({self.table.num_rows:,} rows: {columns}; {', '.join(lacking) or 'all known'})"

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def to_arrow(self) -> pa.Table:
        """An Arrow table, which tells null from NaN."""
        return self.table

    def to_df(self) -> "pd.DataFrame":
        """A pandas DataFrame, in which a number that is null is NaN like one that is undefined."""
        frame: pd.DataFrame = self.table.to_pandas()
        return frame

    def to_dict(self) -> dict[str, list[Any]]:
        """A list a column; null is None."""
        return dict(self.table.to_pydict())


def schema_of(references: Sequence[FeatureReference]) -> pa.Schema:
    """Of what is read of one view."""
    return pa.schema([(ENTITY, pa.string()), *((reference.name, reference.arrow_type) for reference in references)])


def look_up(
    read_view: Callable[[Sequence[FeatureReference], pa.Array], pa.Table],
    references: Sequence[FeatureReference],
    entities: Mapping[str, Entities],
) -> tuple[pa.Table, dict[str, int]]:
    """Features of one release for each row of entities, and how many rows each view knows nothing of.

    Args:
        read_view: reads one view's features of distinct ids: a row for each that is there, in any order.
        references: become columns, in their order, each named by its text.
        entities: by the column of ids; in any order, also repeated.
    """
    views = by_view(references)
    found = {view: read_view(together, entities[together[0].entity].distinct()) for view, together in views.items()}
    ids = {
        column: _meant(kind, [found[view][ENTITY] for view, (first, *_) in views.items() if first.entity == column])
        for column, kind in entities.items()
    }
    columns: dict[str, pa.ChunkedArray] = {}
    unknown: dict[str, int] = {}
    for view, together in views.items():
        rows = pc.index_in(ids[together[0].entity], value_set=found[view][ENTITY])
        unknown[view] = rows.null_count
        columns |= {str(reference): found[view][reference.name].combine_chunks().take(rows) for reference in together}
    return pa.table({str(reference): columns[str(reference)] for reference in references}), unknown


def beside(rows: pa.Table, features: pa.Table, names: Sequence[str]) -> pa.Table:
    """The rows' columns, then those of their features under new names."""
    return pa.table([*rows.columns, *features.columns], names=[*rows.column_names, *names])


def _meant(entities: Entities, known: Sequence[pa.ChunkedArray]) -> pa.Array:
    """One id a row, so that no row mixes two users: the first meaning where any view knows it, else the second."""
    if entities.second.null_count == len(entities):
        return entities.first
    all_known = pa.chunked_array([chunk for ids in known for chunk in ids.chunks], pa.string())
    take_first = pc.or_(pc.is_in(entities.first, value_set=all_known), pc.is_null(entities.second))
    return pc.if_else(take_first, entities.first, entities.second)
