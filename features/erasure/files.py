"""A person's rows in files: releases and snapshot on disk, rows set aside by imports. A file changes whole or not."""

import json
import operator
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.erasure.records import Person
from features.erasure.tombstones import Tombstones
from features.errors import StorageError
from features.release.manifest import Manifest, from_json, read_manifest, release_folder
from features.snapshot.fields import SOURCES
from features.snapshot.spans import sum_of_dates
from features.snapshot.stored import (
    Part,
    Span,
    TableSummary,
    damage,
    next_number,
    open_snapshot,
    part_name,
    remove_strays,
    write_manifest,
    write_part,
)
from features.storage import translated_storage_errors, whole_file, write_json

Keep = Callable[[pa.Table], pa.Table]
"""What is left of some rows; the same object where that is everything."""
OF_USERS = ("user_profile", "similarity", "recommendations")
"""A release's files with a row a user, or several."""
WORD = r"(?<![\w@-]){}(?![\w@-])"


def erase_from_files(
    home: Path, database_name: str, person: Person, document_ids: Mapping[str, set[str]]
) -> dict[str, int]:
    """Takes a person out of every file under a data folder but the built-in database's own.

    Args:
        home: `$ECHOTUNE_HOME`.
        database_name: whose snapshot.
        person: who.
        document_ids: by collection the texts of their documents' ids, for what a snapshot had set aside.

    Returns:
        Rows removed or changed: of releases, of the snapshot, of set-aside rows.

    Raises:
        StorageError: a file can't be read or written; run again when that is mended.
    """
    return {
        "release rows": sum(_erase_from_release(folder, person.text) for folder in _releases(home)),
        "snapshot rows": _erase_from_snapshot(home, database_name, person, document_ids),
        "set-aside rows": sum(_erase_from_rejected(path, person) for path in _rejected(home)),
    }


def is_in_files(home: Path, database_name: str, user: str) -> bool:
    """Whether a release or the snapshot on disk has a row of a user."""
    folders = [*(home / "releases").glob("*/"), *(home / "snapshot" / database_name).glob("*/")]
    files = [path for folder in folders for path in folder.glob("*.parquet")]
    return any(_has_user(path, user) for path in files)


def _has_user(path: Path, user: str) -> bool:
    with _readable(path), pq.ParquetFile(path) as file:
        if "user_id" not in file.schema_arrow.names:
            return False
        batches = file.iter_batches(columns=["user_id"])
        return any(pc.any(pc.equal(batch["user_id"], user)).as_py() for batch in batches)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path} can't be read ({error}); remove it if it is damaged, then erase again") from None


def leave_out_erased(home: Path, release: str, erased: Tombstones) -> Manifest:
    """A release on disk without who was erased after it was built, as on a machine that an erasure did not reach.

    Returns:
        Its manifest, with the counts of what is left.
    """
    folder = release_folder(home, release)
    if erased.hashes:
        users = pc.unique(pq.read_table(folder / "user_profile.parquet", columns=["user_id"])["user_id"])
        lists = pc.unique(pq.read_table(folder / "recommendations.parquet", columns=["user_id"])["user_id"])
        for user in sorted({*users.to_pylist(), *lists.to_pylist()}):
            if erased.cover(user):
                _erase_from_release(folder, user)
    return read_manifest(home, release)


def _releases(home: Path) -> Iterator[Path]:
    """Folders of whole releases; what killed builds left is removed, since no lease means that none is at work."""
    for folder in sorted((home / "releases").glob("*/")):
        if folder.name.startswith("."):
            with translated_storage_errors(folder):
                shutil.rmtree(folder)
        else:
            for scratch in folder.glob(".*"):
                scratch.unlink(missing_ok=True)
            yield folder


def _rejected(home: Path) -> Iterator[Path]:
    """Set-aside files, those that killed imports left half-written removed."""
    for path in sorted((home / "rejected").glob("*")):
        if path.name.startswith("."):
            if not _at_work(path):
                with translated_storage_errors(path):
                    path.unlink(missing_ok=True)
        elif path.suffix == ".parquet":
            yield path


def _at_work(scratch: Path) -> bool:
    """Whether the import that writes a scratch file, whose process is in its name, is alive."""
    try:
        os.kill(int(scratch.suffix.removeprefix(".")), 0)
    except (ValueError, ProcessLookupError):
        return False
    except OSError:
        return True
    return True


def _erase_from_release(folder: Path, user: str) -> int:
    # own rows last: by them an interrupted run finds what is left to do
    changed = _rewrite(folder / "similarity.parquet", _without_neighbor(user), "neighbors")
    changed += sum(_rewrite(folder / f"{name}.parquet", _without_user(user), "user_id") for name in OF_USERS)
    path = folder / "manifest.json"
    if path.exists():
        manifest = from_json(json.loads(path.read_text(encoding="utf-8")))
        counts = manifest.counts | {name: _rows(folder / f"{name}.parquet") for name in OF_USERS}
        if counts != manifest.counts:
            write_json(path, replace(manifest, counts=counts).to_json())
    return changed


def _rows(path: Path) -> int:
    return int(pq.ParquetFile(path).metadata.num_rows) if path.exists() else 0


def _erase_from_snapshot(home: Path, database_name: str, person: Person, document_ids: Mapping[str, set[str]]) -> int:
    """Writes what is left as parts of their own, which a new manifest makes those that count, as a snapshot does."""
    folder = home / "snapshot" / database_name
    if not (folder / "manifest.json").exists():
        with translated_storage_errors(folder):
            shutil.rmtree(folder, ignore_errors=True)  # parts of a first snapshot that was killed
        return 0
    snapshot = open_snapshot(home, database_name)
    number = next_number(folder)
    changed = 0
    tables = dict(snapshot.tables)
    for source in SOURCES:
        name, table = source.table, snapshot.tables[source.table]
        gone = pa.array(sorted(document_ids.get(source.collection, ())), pa.string())
        own = [(part, _without_user(person.text)) for part in table.files]
        own += [(table.apart, _without_documents(gone))] if table.apart else []
        left = {
            part.name: _left_of(folder, part, keep, part_name(Path(part.name).parent.name, number, position))
            for position, (part, keep) in enumerate(own)
        }
        set_aside = folder / snapshot.set_aside_name(name)
        changed += sum(part.rows - left[part.name].rows for part, _ in own)
        changed += _rewrite(set_aside, _without_documents(gone), "document_id")
        if _rows(set_aside) != table.set_aside or any(left[part.name] != part for part, _ in own):
            tables[name] = _with_parts(folder, table, left, Counter(_reasons(set_aside)))
    left_snapshot = replace(snapshot, tables=tables)
    if left_snapshot != snapshot:
        write_manifest(left_snapshot)
    remove_strays(left_snapshot)  # the parts as they were; and what killed runs wrote may name the person too
    return changed


def _left_of(folder: Path, part: Part, keep: Keep, name: str) -> Part:
    """What is left of a part, as another one; a damaged part is removed, and the next snapshot makes that good."""
    path = folder / part.name
    if damage(folder, part):
        with translated_storage_errors(path):
            path.unlink(missing_ok=True)
        return part
    rows = pq.read_table(path)
    left = keep(rows)
    return part if left.num_rows == rows.num_rows else write_part(folder, name, left)


def _reasons(set_aside: Path) -> list[str]:
    return list(pq.read_table(set_aside)["reason"].to_pylist()) if set_aside.exists() else []


def _with_parts(folder: Path, table: TableSummary, left: Mapping[str, Part], reasons: Counter[str]) -> TableSummary:
    """A table with its parts as they are now, and the numbers that follow from them."""
    apart = left[table.apart.name] if table.apart else None
    spans = tuple(
        span if apart is table.apart and parts == span.parts else _span_left(folder, span, parts, apart)
        for span, parts in ((span, [left[part.name] for part in span.parts]) for span in table.spans)
    )
    loose = [left[part.name] for part in table.loose]
    used, aside = sum(part.rows for part in left.values() if part is not apart), reasons.total()
    by_number = sorted(reasons.items(), key=lambda entry: (-entry[1], entry[0]))
    return replace(
        table,
        read=used + aside,
        used=used,
        set_aside=aside,
        reasons=dict(by_number),
        loose=loose,
        spans=spans,
        apart=apart,
    )


def _span_left(folder: Path, span: Span, parts: list[Part], apart: Part | None) -> Span:
    """A span by what its files hold now; as it was where one of them is damaged, since it will be read anew."""
    if any(damage(folder, part) for part in (*parts, *([apart] if apart else []))):
        return replace(span, parts=parts)
    moments = [pq.read_table(folder / part.name, columns=["known_at"])["known_at"] for part in parts]
    if apart:
        aside = pq.read_table(folder / apart.name, columns=["imported_at"])["imported_at"]
        after, until = (pa.scalar(moment, aside.type) for moment in (span.after, span.until))
        moments.append(aside.filter(pc.and_(pc.greater(aside, after), pc.less_equal(aside, until))))
    return replace(
        span, documents=sum(len(found) for found in moments), dates=sum(map(sum_of_dates, moments)), parts=parts
    )


def _erase_from_rejected(path: Path, person: Person) -> int:
    named = person.aliases | {person.text, str(person.user)}

    def keep(rows: pa.Table) -> pa.Table:
        others = [not names(row, named) for row in rows["row"].to_pylist()]
        return rows if all(others) else rows.filter(pa.array(others))

    removed = _rewrite(path, keep, "row")
    if removed and pq.ParquetFile(path).metadata.num_rows == 0:
        with translated_storage_errors(path):
            path.unlink()
    return removed


def names(row: str, named: frozenset[str]) -> bool:
    """Whether a row set aside names someone, in any of its values: as a whole word, not as a part of a longer one.

    >>> names('{"user_id": "ann", "n": 1}', frozenset({"ann"})), names('"ann;t1;x"', frozenset({"ann"}))
    (True, True)
    >>> names('{"user_id": "anna"}', frozenset({"ann"})), names('"joanne;t1"', frozenset({"ann"}))
    (False, False)
    """
    pattern = re.compile("|".join(WORD.format(re.escape(name)) for name in named), re.IGNORECASE)
    return any(pattern.search(text) for text in _texts(json.loads(row)))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for entry in value.values():
            if isinstance(entry, dict):
                yield from entry  # a key may be an id; those of the row itself are columns
            yield from _texts(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry)
    elif value is not None:
        yield str(value)


def _rewrite(path: Path, keep: Keep, column: str) -> int:
    """Rewrites a Parquet file row group by row group, so that these go on being the same chunks of an upload.

    Args:
        path: the file; none is nothing to do.
        keep: what is left of some rows, decided by one column.
        column: which; it is read first, alone, and most files are found to have nothing to erase.

    Returns:
        How many rows were removed or changed.

    Raises:
        StorageError: it can't be read or written.
    """
    if not path.exists():
        return 0
    with _readable(path), pq.ParquetFile(path) as source:
        groups = range(source.num_row_groups)
        changed = sum(_changed(rows, keep(rows)) for rows in (source.read_row_group(n, [column]) for n in groups))
        if changed:
            with (
                whole_file(path, like=path) as scratch,
                pq.ParquetWriter(scratch, source.schema_arrow, compression="zstd") as to,
            ):
                for number in groups:
                    rows = keep(source.read_row_group(number))
                    to.write_table(rows, row_group_size=max(rows.num_rows, 1))
    return changed


def _changed(before: pa.Table, after: pa.Table) -> int:
    if after.num_rows < before.num_rows:
        return int(before.num_rows - after.num_rows)
    return 0 if after is before else sum(map(operator.ne, before.to_pylist(), after.to_pylist()))


def _without_user(user: str) -> Keep:
    def keep(rows: pa.Table) -> pa.Table:
        if "user_id" not in rows.column_names:
            return rows
        mine = pc.fill_null(pc.equal(rows["user_id"], user), fill_value=False)
        return rows.filter(pc.invert(mine)) if pc.any(mine).as_py() else rows

    return keep


def _without_documents(gone: pa.Array) -> Keep:
    return lambda rows: rows.filter(pc.invert(pc.is_in(rows["document_id"], gone)))


def _without_neighbor(user: str) -> Keep:
    def keep(rows: pa.Table) -> pa.Table:
        lists = rows["neighbors"].to_pylist()
        kept = [[entry for entry in neighbors if entry["user_id"] != user] for neighbors in lists]
        if kept == lists:
            return rows
        position = rows.column_names.index("neighbors")
        field = rows.schema.field(position)
        return rows.set_column(position, field, pa.array(kept, field.type))

    return keep
