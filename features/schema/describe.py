"""The contract in words: each collection's fields and indexes as Markdown, from the data that the server gets.

`python -m features.schema.describe docs/data-model.md` renews the generated blocks of a document in place.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from features.errors import EchotuneError, InputError
from features.schema.collections import COLLECTIONS, SECONDS_A_DAY
from features.schema.shapes import Collection, Index

Schema = Mapping[str, Any]

BEGIN, END = "<!-- generated: {} -->", "<!-- end -->"
MARKER = re.compile(r"^<!-- (?:generated: (?P<name>\S+)|(?P<end>end)) -->$", re.MULTILINE)

ANY_NUMBER = ("int", "long", "double", "decimal")
NOUNS = {
    "string": "text",
    "objectId": "ObjectId",
    "date": "date",
    "bool": "true or false",
    "object": "object",
    "array": "list",
    "binData": "binary",
    **{kind: kind for kind in ANY_NUMBER},
}
PLURALS = {"ObjectId": "ObjectIds", "date": "dates", "object": "objects", "number": "numbers"}


class Field(NamedTuple):
    """A field as a line of the table."""

    path: str
    """Dotted; `[]` stands for each item of a list."""
    holds: str
    required: bool
    """Whether a document, or the object that the field is in, must have it."""


def fields(schema: Schema, parent: str = "") -> Iterator[Field]:
    """Every field that a schema names, those of sub-documents after the one they are in."""
    for name, rule in schema["properties"].items():
        path = f"{parent}{name}"
        yield Field(path, holds(rule), name in schema.get("required", ()))
        for inner, step in ((rule, "."), (rule.get("items", {}), "[].")):
            if "properties" in inner:
                yield from fields(inner, f"{path}{step}")


def holds(rule: Schema) -> str:
    """What a field may hold.

    >>> holds({"bsonType": ["int", "long", "double", "decimal", "null"], "minimum": 0, "maximum": 1})
    'number, 0 to 1, or null'
    >>> holds({"bsonType": "array", "minItems": 1, "items": {"bsonType": ["object", "objectId"]}})
    'list of objects or ObjectIds, at least 1'
    """
    if "enum" in rule:
        return _or_null(" or ".join(_code(value) for value in rule["enum"] if value is not None), None in rule["enum"])
    types = _types(rule)
    limits = [limit for limit in (_range(rule), _length(rule)) if limit]
    if "pattern" in rule:
        limits.append(f"matching {_code(rule['pattern'])}")
    return _or_null(", ".join([" or ".join(_nouns(types, rule)), *limits]), "null" in types)


def _types(rule: Schema) -> list[str]:
    return [rule["bsonType"]] if isinstance(rule["bsonType"], str) else list(rule["bsonType"])


def _or_null(text: str, nullable: bool) -> str:
    if not nullable:
        return text
    return f"{text}, or null" if " or " in text or "," in text else f"{text} or null"


def _nouns(types: Sequence[str], rule: Schema) -> Iterator[str]:
    any_number = set(types).issuperset(ANY_NUMBER)
    if any_number:
        yield "number"
    for kind in types:
        if any_number and kind in ANY_NUMBER:
            continue
        if kind == "array" and "items" in rule:
            yield f"list of {_items(rule['items'])}"
        elif kind in NOUNS:
            yield NOUNS[kind]


def _items(rule: Schema) -> str:
    types = _types(rule)
    nouns = [PLURALS.get(noun, noun) for noun in _nouns(types, rule)]
    length = f" ({_length(rule)})" if _length(rule) else ""
    return " or ".join([*nouns, *(["nulls"] if "null" in types else [])]) + length


def _range(rule: Schema) -> str:
    low, high = rule.get("minimum"), rule.get("maximum")
    if low is not None and high is not None:
        return f"{low:,} to {high:,}"
    return f"at least {low:,}" if low is not None else f"at most {high:,}" if high is not None else ""


def _length(rule: Schema) -> str:
    if "minLength" in rule:
        return "not empty"
    return f"at least {rule['minItems']}" if "minItems" in rule else ""


def describe(collection: Collection) -> str:
    """A collection in Markdown: what it is for, its fields, its kinds of documents where there are several, indexes."""
    schema = collection.validator["$jsonSchema"]
    rows = [(_code(field.path), field.holds, "yes" if field.required else "") for field in fields(schema)]
    parts = [
        collection.purpose,
        _table(("field", "holds", "required"), rows),
        *_kinds(schema),
        *_expressions(collection.validator),
        _table(
            ("index", "keys", "options"),
            [(_code(index.name), _code(_keys(index)), _options(index)) for index in collection.indexes],
        ),
    ]
    return "\n\n".join(parts)


def _kinds(schema: Schema) -> Iterator[str]:
    if "anyOf" in schema:
        yield "\n".join(["At least one of these holds:", "", *(f"- {_kind(kind)}" for kind in schema["anyOf"])])


def _kind(kind: Schema) -> str:
    properties = kind.get("properties", {})
    conditions = [f"{_code(name)} {_condition(rule)}" for name, rule in properties.items() if "required" not in rule]
    inner = [f"{name}.{field}" for name, rule in properties.items() for field in rule.get("required", ())]
    return "; ".join([*conditions, "required: " + ", ".join(_code(name) for name in [*kind["required"], *inner])])


def _condition(rule: Schema) -> str:
    if "enum" in rule:
        return "is " + " or ".join(_code(value) for value in rule["enum"])
    return f"matches {_code(rule['pattern'])}"


def _expressions(validator: Schema) -> Iterator[str]:
    if "$expr" in validator:
        yield f"And this expression is true:\n\n```json\n{json.dumps(validator['$expr'])}\n```"


def _keys(index: Index) -> str:
    return ", ".join(f"{field}: {direction}" for field, direction in index.keys)


def _options(index: Index) -> str:
    words = ["unique"] if index.unique else []
    if index.sparse:
        words.append("sparse")
    if index.ttl_seconds is not None:
        words.append(_ttl(index.ttl_seconds))
    if index.partial is not None:
        words.append(f"only documents with {_code(json.dumps(index.partial))}")
    return ", ".join(words)


def _ttl(seconds: int) -> str:
    if seconds == 0:
        return "TTL: removed from that moment on"
    days, rest = divmod(seconds, SECONDS_A_DAY)
    return f"TTL: removed after {days:,} days" if not rest else f"TTL: removed after {seconds:,} s"


def _code(value: Any) -> str:
    return f"`{value}`"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fill(text: str, collections: Sequence[Collection] = COLLECTIONS) -> str:
    """The text with what stands between `<!-- generated: NAME -->` and `<!-- end -->` made anew, all else as it is.

    Raises:
        InputError: a block has no end, an end no block, or a collection of that name is not there.
    """
    known = {collection.name: collection for collection in collections}
    filled, at, name = "", 0, None
    for marker in MARKER.finditer(text):
        line = text.count("\n", 0, marker.start()) + 1
        if (marker["end"] is None) != (name is None):
            raise InputError(f"line {line}: {marker[0]} is out of turn; each block begins once and ends once")
        if name is None:
            name = marker["name"]
            if name not in known:
                raise InputError(f"line {line}: no collection {name}; there are {', '.join(known)}")
            filled += text[at : marker.end()]
        else:
            filled += f"\n\n{describe(known[name])}\n\n{END}"
            name = None
        at = marker.end()
    if name is not None:
        raise InputError(f"the block of {name} has no {END}")
    return filled + text[at:]


def blocks(text: str) -> dict[str, str]:
    """What stands in each generated block, by collection."""
    pattern = re.escape(BEGIN).replace(re.escape("{}"), r"(\S+)") + r"\n(.*?)\n" + re.escape(END)
    return {name: content.strip("\n") for name, content in re.findall(pattern, text, re.DOTALL)}


def main(arguments: Sequence[str]) -> str:
    """Renews a document in place; says which blocks changed.

    Raises:
        InputError: the document can't be used, or not exactly one is named.
    """
    if len(arguments) != 1:
        raise InputError("name one document: python -m features.schema.describe docs/data-model.md")
    path = Path(arguments[0])
    try:
        before = path.read_text(encoding="utf-8")
        after = fill(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} can't be read or written ({error}); check the path") from None
    old = blocks(before)
    changed = [name for name, content in blocks(after).items() if old.get(name) != content]
    return f"{path}: {', '.join(changed)} changed" if changed else f"{path}: nothing changed"


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{main(sys.argv[1:])}\n")
    except EchotuneError as problem:
        sys.stderr.write(f"{problem}\n")
        sys.exit(problem.exit_status)
