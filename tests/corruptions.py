"""From a validator's own data: values that a document may not hold, one at a time, and documents that it may be."""

import math
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from bson import Decimal128, Int64, ObjectId
from bson.binary import Binary
from bson.timestamp import Timestamp
from hypothesis import strategies as st
from pymongo.database import Database
from pymongo.errors import BulkWriteError

Document = dict[str, Any]
Schema = Mapping[str, Any]
Corruption = tuple[str, Any, str]
"""Dotted path, the value to put there (ABSENT to take the field out), and what is wrong with it."""

ABSENT = object()
VALIDATION_FAILED = 121
DATE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OTHER_WORD = "no such word"

SAMPLES: Mapping[str, Any] = {
    "string": "text",
    "objectId": ObjectId("64b000000000000000000001"),
    "date": DATE,
    "bool": True,
    "int": 7,
    "long": Int64(7),
    "double": 0.5,
    "decimal": Decimal128("0.5"),
    "null": None,
    "object": {},
    "array": [],
    "binData": Binary(b"0123"),
    "timestamp": Timestamp(1, 1),
}
"""A value of each BSON type that a client may send."""
ANYTHING = {"bsonType": "int"}
"""What stands in a list of which no schema says more."""
NOT_FOR_AN_ID = ("array",)
"""Types that a server refuses in `_id` by itself, with another code."""


def schema_of(validator: Schema) -> Schema:
    """The part of a validator that is told by fields."""
    return validator["$jsonSchema"]


def types_of(schema: Schema) -> tuple[str, ...]:
    """The BSON types that a field may have; empty where only a closed list of values says it."""
    kind = schema.get("bsonType", ())
    return (kind,) if isinstance(kind, str) else tuple(kind)


def with_value(document: Document, path: str, value: Any) -> Document:
    """A copy of the document with one field set or, for ABSENT, taken out."""
    copy = deepcopy(document)
    *parents, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    owner: Any = copy
    for step in parents:
        owner = owner[step]
    if value is ABSENT:
        del owner[last]
    else:
        owner[last] = value
    return copy


def corruptions(document: Document, schema: Schema) -> Iterator[Corruption]:
    """Every way to break the schema by one field of the document: type, range, list, pattern, length, absence.

    NaN and decimals out of range are none of them: the built-in server lets both pass any range.
    """
    yield from _of_object("", document, schema)
    yield from _of_kinds(document, schema)


def corrupted(document: Document, schema: Schema) -> Iterator[tuple[str, Document]]:
    """The document with each corruption in turn, under an `_id` of its own where the schema leaves that open."""
    for path, value, why in corruptions(document, schema):
        copy = with_value(document, path, value)
        if "_id" not in schema["properties"]:
            copy["_id"] = ObjectId()
        yield f"{path}: {why}", copy


def not_refused(database: Database[Document], collection: str, documents: list[tuple[str, Document]]) -> list[str]:
    """What the collection's validator did with documents that it should refuse, where that was anything else."""
    codes: dict[int, int] = {}
    try:
        database[collection].insert_many([document for _, document in documents], ordered=False)
    except BulkWriteError as error:
        codes = {entry["index"]: entry["code"] for entry in error.details["writeErrors"]}
    return [
        f"{what} ({codes.get(number, 'accepted')})"
        for number, (what, _) in enumerate(documents)
        if codes.get(number) != VALIDATION_FAILED
    ]


def _of_object(path: str, value: Document, schema: Schema) -> Iterator[Corruption]:
    for name in schema.get("required", ()):
        yield _join(path, name), ABSENT, "is required"
    for name, field in schema.get("properties", {}).items():
        if name in value:
            yield from _of_value(_join(path, name), value[name], field)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _of_value(path: str, value: Any, schema: Schema) -> Iterator[Corruption]:
    yield from _wrong_types(path, schema)
    yield from _outside_range(path, schema)
    yield from _outside_list(path, schema)
    yield from _against_pattern(path, value, schema)
    if schema.get("minLength", 0) > 0:
        yield path, "", "is empty"
    if isinstance(value, list):
        yield from _of_list(path, value, schema)
    if isinstance(value, dict):
        yield from _of_object(path, value, schema)


def _wrong_types(path: str, schema: Schema) -> Iterator[Corruption]:
    allowed = types_of(schema)
    if not allowed:
        return
    for kind, sample in SAMPLES.items():
        if kind not in allowed and not (path == "_id" and kind in NOT_FOR_AN_ID):
            yield path, sample, f"is of type {kind}"


def _outside_range(path: str, schema: Schema) -> Iterator[Corruption]:
    for bound, outwards in (("minimum", -1), ("maximum", 1)):
        if bound not in schema:
            continue
        limit = schema[bound]
        values = {
            "int": limit + outwards,
            "long": Int64(outwards * 2**60),
            "double": math.nextafter(limit, outwards * math.inf),
        }
        for kind, value in values.items():
            if kind in types_of(schema):
                yield path, value, f"is beyond the {bound} as {kind}"
        if "double" in types_of(schema):
            yield path, outwards * math.inf, f"is beyond the {bound}, and infinite"


def _outside_list(path: str, schema: Schema) -> Iterator[Corruption]:
    if "enum" not in schema:
        return
    allowed = schema["enum"]
    words = [word for value in allowed if isinstance(value, str) for word in (value.upper(), f"{value} ", value[:-1])]
    numbers = [n for value in allowed if isinstance(value, int) for n in (value - 1, value + 0.5, value + 1)]
    for value in [*words, *numbers, OTHER_WORD, "", *SAMPLES.values()]:
        # Python takes True for 1, a database doesn't
        if not any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in allowed):
            yield path, value, f"is {value!r}, which is not in the list"


def _against_pattern(path: str, value: Any, schema: Schema) -> Iterator[Corruption]:
    if "pattern" not in schema or not isinstance(value, str):
        return
    # each character left out, doubled or made a line break in turn
    changed = {value[:at] + other + value[at + 1 :] for at in range(len(value)) for other in ("", "@", "\n")}
    for text in sorted({"", OTHER_WORD, *changed}):
        if not re.search(schema["pattern"], text):
            yield path, text, f"is {text!r}, against the pattern"


def _of_list(path: str, value: list[Any], schema: Schema) -> Iterator[Corruption]:
    if schema.get("minItems", 0) > 0:
        yield path, [], "has no item"
    if "items" not in schema:
        return
    item = schema["items"]
    for kind, sample in SAMPLES.items():
        if types_of(item) and kind not in types_of(item):
            yield path, [*value, sample], f"has an item of type {kind}"
    if value:
        yield from _of_value(f"{path}.0", value[0], item)


def _of_kinds(document: Document, schema: Schema) -> Iterator[Corruption]:
    """Breaks of a schema's alternatives: a field that the document's kind needs, or that makes it of another kind."""
    alternatives = schema.get("anyOf")
    if not alternatives:
        return
    fields = dict.fromkeys(path for kind in alternatives for path in _required(kind, document))
    words = [
        (name, word)
        for kind in alternatives
        for name, rule in kind.get("properties", {}).items()
        for word in rule.get("enum", [rule["pattern"].lstrip("^")] if "pattern" in rule else [])
    ]
    changes = [(name, ABSENT, "is required of its kind") for name in fields if name not in schema["required"]]
    changes += [(name, word, f"is {word!r}, another kind's") for name, word in [*words, ("_id", OTHER_WORD)]]
    for path, value, why in changes:
        if not any(_is_of_kind(with_value(document, path, value), kind) for kind in alternatives):
            yield path, value, why


def _required(kind: Schema, document: Document) -> Iterator[str]:
    """Paths of fields that the document has and the alternative requires."""
    for name in kind.get("required", ()):
        if name in document:
            yield name
    for name, rule in kind.get("properties", {}).items():
        if isinstance(document.get(name), dict):
            yield from (f"{name}.{inner}" for inner in _required(rule, document[name]))


def _is_of_kind(value: Any, kind: Schema) -> bool:
    """Whether an alternative, made of required fields and of words or patterns of texts, lets a document in."""
    return (
        all(name in value for name in kind.get("required", ()))
        and all(_is_of_kind(value[name], rule) for name, rule in kind.get("properties", {}).items() if name in value)
        and value in kind.get("enum", [value])
        and (not isinstance(value, str) or re.search(kind.get("pattern", ""), value) is not None)
    )


def valid_documents(schema: Schema) -> st.SearchStrategy[Document]:
    """Documents that the schema lets in, of every kind, with any of its fields and any type these may have."""
    kinds = schema.get("anyOf") or [{}]
    return st.one_of([_objects(_narrowed(schema, kind)) for kind in kinds])


def _narrowed(schema: Schema, kind: Schema) -> Schema:
    """The schema for documents of one of its kinds."""
    also = kind.get("properties", {})
    properties = {name: _narrowed(rule, also[name]) if name in also else rule for name, rule in _properties(schema)}
    narrowed = {**schema, **{name: rule for name, rule in kind.items() if name in ("enum", "pattern")}}
    required = [*schema.get("required", ()), *kind.get("required", ())]
    return {**narrowed, "properties": properties, "required": required}


def _properties(schema: Schema) -> list[tuple[str, Schema]]:
    return list(schema.get("properties", {}).items())


def _values(schema: Schema) -> st.SearchStrategy[Any]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    return st.one_of([_of_type(kind, schema) for kind in types_of(schema)])


def _of_type(kind: str, schema: Schema) -> st.SearchStrategy[Any]:
    low, high = schema.get("minimum"), schema.get("maximum")
    return {
        "string": lambda: _texts(schema),
        "int": lambda: _whole(31, low, high),
        "long": lambda: _whole(63, low, high).map(Int64),
        "double": lambda: st.floats(low, high, allow_nan=False),
        # 34 digits are what a Decimal128 holds
        "decimal": lambda: st.decimals(
            -(10**30) if low is None else low,
            10**30 if high is None else high,
            allow_nan=False,
            allow_infinity=False,
            places=3,
        ).map(_decimal),
        "object": lambda: _objects(schema) if "properties" in schema else st.just({"any": 1}),
        "array": lambda: st.lists(
            _values(schema.get("items", ANYTHING)), min_size=schema.get("minItems", 0), max_size=3
        ),
        "objectId": lambda: st.binary(min_size=12, max_size=12).map(ObjectId),
        "date": lambda: st.integers(0, 2**42).map(lambda ms: datetime.fromtimestamp(ms / 1000, UTC)),
        "bool": st.booleans,
        "null": st.none,
        "binData": lambda: st.binary(max_size=9).map(Binary),
    }[kind]()


def _texts(schema: Schema) -> st.SearchStrategy[str]:
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=schema["pattern"].endswith("$"))
    return st.text(min_size=schema.get("minLength", 0), max_size=9)


def _whole(bits: int, low: int | None, high: int | None) -> st.SearchStrategy[int]:
    return st.integers(-(2**bits) if low is None else low, 2**bits - 1 if high is None else high)


def _decimal(value: Any) -> Decimal128:
    return Decimal128(f"{value:f}")


def _objects(schema: Schema) -> st.SearchStrategy[Document]:
    fields = {name: _values(rule) for name, rule in _properties(schema)}
    required = {name: fields.pop(name) for name in schema.get("required", ())}
    return st.fixed_dictionaries(required, optional=fields)
