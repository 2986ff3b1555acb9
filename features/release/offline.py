"""Features of many entities at once, from one release's Parquet files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.errors import StorageError
from features.release.feature_references import FeatureReference
from features.release.retrieval import ENTITY, schema_of

BATCH_ROWS = 1 << 16
COLUMNS = {
    "user_profile": "vector",
    "vector": "vector",
    "confidence": "confidence",
    "neighbors": "neighbors",
    "scores": "neighbors",
    "recommendations": "track_ids",
}
"""The Parquet column that a feature is in, by its name, else by its type."""
OF_NEIGHBORS = {"neighbors": "user_id", "scores": "jaccard"}


@dataclass(frozen=True)
class OfflineRelease:
    """One release on disk.

    Attributes:
        folder: its own.
        dimensions: of its profiles, in the order of their vectors.
    """

    folder: Path
    dimensions: Sequence[str]

    def read_view(self, references: Sequence[FeatureReference], wanted: pa.Array) -> pa.Table:
        """One view's features of some entities: a row for each that is in the release, in its order.

        A dimension that the release does not have is null. The file is read once, a batch of rows at a time, of
        which only those that are wanted are kept.

        Args:
            references: all of one view.
            wanted: distinct ids.

        Raises:
            StorageError: the file can't be read.
        """
        path = self.folder / f"{references[0].type}.parquet"
        schema = schema_of(references)
        try:
            batches = [
                pa.record_batch(
                    {ENTITY: rows[references[0].entity]} | {r.name: self._column(r, rows) for r in references},
                    schema=schema,
                )
                for rows in _wanted_rows(path, references, wanted)
            ]
        except (OSError, pa.ArrowException) as error:
            what = str(error).partition("\n")[0]
            raise StorageError(f"{path} can't be read ({what}); remove its folder, build that release again") from None
        return pa.Table.from_batches(batches, schema)

    def _column(self, reference: FeatureReference, rows: pa.RecordBatch) -> pa.Array:
        column = rows[_source(reference)]
        if reference.is_dimension and reference.name not in self.dimensions:
            return pa.nulls(rows.num_rows, reference.arrow_type)
        if reference.is_dimension:
            return pc.list_element(column, self.dimensions.index(reference.name))
        if reference.name in OF_NEIGHBORS:
            entries = pc.struct_field(column.values, OF_NEIGHBORS[reference.name])
            return pa.ListArray.from_arrays(column.offsets, entries)
        return column.cast(reference.arrow_type)


def _wanted_rows(path: Path, references: Sequence[FeatureReference], wanted: pa.Array) -> Iterator[pa.RecordBatch]:
    of_strategy = references[0].type == "recommendations"
    columns = {references[0].entity, *map(_source, references), *(["strategy"] if of_strategy else [])}
    with pq.ParquetFile(path) as file:
        for rows in file.iter_batches(BATCH_ROWS, columns=sorted(columns)):
            keep = pc.is_in(rows[references[0].entity], value_set=wanted)
            if of_strategy:
                keep = pc.and_(keep, pc.equal(rows["strategy"], references[0].name))
            yield rows.filter(keep)


def _source(reference: FeatureReference) -> str:
    return COLUMNS.get(reference.name) or COLUMNS[reference.type]
