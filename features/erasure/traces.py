"""The proof of an erasure: a search through all collections and files for the bytes of one id."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from bson import ObjectId
from pymongo.database import Database

from features.database import Document, translated_errors
from features.errors import StorageError
from features.progress import Progress, silent
from features.schema.ids import UserId

TELLING = 8
"""From this length on an id is searched as bytes anywhere; a shorter one, such as "u1", as a whole value."""
BLOCK = 1 << 24


@dataclass(frozen=True)
class Trace:
    """Where an id was found: a collection or a file, never the place's content."""

    where: str
    count: int


def find_traces(database: Database[Document], home: Path, user: UserId, progress: Progress = silent) -> list[Trace]:
    """Every collection and file that holds the id in any form.

    All documents are read raw, whatever their fields; Parquet files are decoded, since they are compressed; any
    other file is searched as it is, but for the built-in database's own, which `find_traces_in_storage` looks at
    when it is down.

    Raises:
        DatabaseError, StorageError: something can't be read.
    """
    pattern = _pattern(user)
    traces = [
        *_in_collections(database, pattern, progress),
        *_in_files(home, user, pattern),
    ]
    return [trace for trace in traces if trace.count]


def find_traces_in_storage(home: Path, user: UserId) -> list[Trace]:
    """Files of the built-in database, which must be down, that hold the id as it is."""
    pattern = _pattern(user)
    files = [path for path in sorted((home / "db").rglob("*")) if path.is_file()]
    traces = [Trace(str(path.relative_to(home)), _count(path, pattern)) for path in files]
    return [trace for trace in traces if trace.count]


def _pattern(user: UserId) -> re.Pattern[bytes]:
    """The id's bytes: anywhere as a word where they tell, else as a string of BSON, which its length precedes."""
    text = str(user).encode()
    framed = struct.pack("<i", len(text) + 1) + text + b"\x00"
    word = rb"(?<![\w-])" + re.escape(text) + rb"(?![\w-])"  # listener-1 is not listener-12
    forms = [word if len(text) >= TELLING else re.escape(framed)]
    if isinstance(user, ObjectId):
        forms.append(re.escape(user.binary))
    return re.compile(b"|".join(forms))


def _in_collections(database: Database[Document], pattern: re.Pattern[bytes], progress: Progress) -> Iterator[Trace]:
    with translated_errors():
        for name in sorted(database.list_collection_names()):
            found = read = 0
            for batch in database[name].find_raw_batches({}, batch_size=20_000):
                found += len(pattern.findall(cast("bytes", batch)))
                read += len(batch)
                progress(f"searching {name}, bytes", read, None)
            yield Trace(f"collection {name}", found)


def _in_files(home: Path, user: UserId, pattern: re.Pattern[bytes]) -> Iterator[Trace]:
    for path in sorted(home.rglob("*")):
        top = path.relative_to(home).parts[0]
        if top in {"db", "db.run", "db.log"} or not path.is_file():
            continue
        try:
            found = _count(path, pattern)
            if ".parquet" in path.name:
                found += _in_parquet(path, user)
        except FileNotFoundError:
            continue  # removed meanwhile
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{path} can't be searched ({error}); remove it if it is damaged") from None
        yield Trace(str(path.relative_to(home)), found)


def _in_parquet(path: Path, user: UserId) -> int:
    found = 0
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            for column in file.read_row_group(number).columns:
                for texts in _texts(column.combine_chunks()):
                    found += _matches(texts, str(user))
    return found


def _texts(array: pa.Array) -> Iterator[pa.Array]:
    """The strings in an array, however deep they are nested."""
    if isinstance(array, pa.ChunkedArray):
        for chunk in array.chunks:
            yield from _texts(chunk)
    elif pa.types.is_struct(array.type):
        for child in array.flatten():
            yield from _texts(child)
    elif pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type):
        yield from _texts(array.flatten())
    elif pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        yield array


def _matches(texts: pa.Array, text: str) -> int:
    found = pc.match_substring_regex(texts, r"(^|[^\w-])" + re.escape(text) + r"($|[^\w-])")
    return int(pc.sum(found).as_py() or 0)


def _count(path: Path, pattern: re.Pattern[bytes]) -> int:
    """How often a pattern stands in a file, read in blocks that overlap by more than it is long."""
    found, rest = 0, b""
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            block = rest + block
            matches = list(pattern.finditer(block))
            found += len(matches)
            keep = max(len(block) - 1024, matches[-1].end() if matches else 0)
            rest = block[keep:]
    return found
