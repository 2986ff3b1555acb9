"""A `$jsonSchema` in Python, for documents that are in a collection already: a server tells of new ones only.

Verdicts are MongoDB's. The built-in server's differ in two things: NaN and decimals pass any range there, and `$` in a
pattern is the very end, not also before a last line break.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from types import NoneType
from typing import Any
from uuid import UUID

from bson import DBRef, Decimal128, Int64, ObjectId
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS

Check = Callable[[Any], str | None]
"""What of a value breaks a rule: the path within the value, if any, and the rule in words. None when nothing does."""

CLASSES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "int": (int,),
    "long": (Int64,),
    "double": (float,),
    "decimal": (Decimal128,),
    "bool": (bool,),
    "date": (datetime, DatetimeMS),
    "null": (NoneType,),
    "object": (dict, DBRef),
    "array": (list,),
    "objectId": (ObjectId,),
    "binData": (bytes, Binary, UUID),
}
"""BSON types that a schema may name, as the driver decodes them: an int of 64 bits has a class of its own."""
TYPE_NAMES = {kind: name for name, kinds in CLASSES.items() for kind in kinds}
RANGED = {"bsonType", "minimum", "maximum"}
USUAL: Mapping[str, type] = {"int": int, "long": Int64, "double": float}
NUMBERS = frozenset((int, Int64, float, Decimal128))
WORDS = frozenset((str, bool, NoneType))


def compile_validator(json_schema: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], str | None]:
    """A function that says which rule a document breaks first, in words without the value; None for none.

    The document must be as the driver decodes it: a dict, with `Int64` for a long.

    Raises:
        ValueError: the schema uses a keyword, or a form of one, that is not known here.
    """
    check = _compile(json_schema)

    def verdict(document: Mapping[str, Any]) -> str | None:
        fault = check(document)
        return None if fault is None else _readable(fault)

    return verdict


def type_name(value: Any) -> str:
    """The BSON type of a value; the driver's name for one that no schema of ours has."""
    return TYPE_NAMES.get(type(value), type(value).__name__)


def _readable(fault: str) -> str:
    return f"the document{fault}" if fault.startswith(" ") else fault.removeprefix(".")


def _compile(schema: Mapping[str, Any]) -> Check:
    if unknown := schema.keys() - COMPILERS.keys():
        raise ValueError(f"no way to check {', '.join(sorted(unknown))} of a $jsonSchema")
    checks = [compiler(schema[keyword]) for keyword, compiler in COMPILERS.items() if keyword in schema]
    if len(checks) == 1:
        return checks[0]

    def check(value: Any) -> str | None:
        for one in checks:
            if (fault := one(value)) is not None:
                return fault
        return None

    return _with_shortcut(schema, check) if schema.keys() == RANGED else check


def _with_shortcut(schema: Mapping[str, Any], check: Check) -> Check:
    """The same check, twice as fast for what most fields hold: a number of any usual type within the range."""
    if not USUAL.keys() <= set(schema["bsonType"]):
        return check
    usual, low, high = frozenset(USUAL.values()), schema["minimum"], schema["maximum"]

    def shortcut(value: Any) -> str | None:
        return None if type(value) in usual and low <= value <= high else check(value)

    return shortcut


def _bson_type(names: str | Sequence[str]) -> Check:
    wanted = (names,) if isinstance(names, str) else tuple(names)
    if unknown := set(wanted) - CLASSES.keys():
        raise ValueError(f"no way to check the BSON type {', '.join(sorted(unknown))}")
    allowed = frozenset(kind for name in wanted for kind in CLASSES[name])
    text = " or ".join(wanted)

    def check(value: Any) -> str | None:
        return None if type(value) in allowed else f" is of type {type_name(value)}, not {text}"

    return check


def _enum(values: Sequence[Any]) -> Check:
    if any(type(value) not in NUMBERS | WORDS for value in values):
        raise ValueError("no way to check an enum of anything but texts, numbers, booleans and null")
    # apart, since Python takes True for 1 and a database doesn't
    words = frozenset(value for value in values if type(value) in WORDS)
    numbers = frozenset(_number(value) for value in values if type(value) in NUMBERS)
    text = ", ".join("null" if value is None else str(value) for value in values)

    def check(value: Any) -> str | None:
        found = _number(value) in numbers if type(value) in NUMBERS else type(value) in WORDS and value in words
        return None if found else f" is none of {text}"

    return check


def _limit(keeps: Callable[[Any, Any], bool], words: str) -> Callable[[float], Check]:
    def compiler(limit: float) -> Check:
        def check(value: Any) -> str | None:
            if type(value) not in NUMBERS or keeps(number := _number(value), limit):
                return None
            # NaN keeps no limit, and is not itself
            return f" is {words} {limit:g}" if number == number else " is not a number"  # noqa: PLR0124

        return check

    return compiler


def _number(value: Any) -> int | float | Decimal:
    if type(value) is not Decimal128:
        return value  # type: ignore[no-any-return]
    decimal = value.to_decimal()
    return float("nan") if decimal.is_nan() else decimal  # a decimal's may be one that raises when compared


def _min_items(least: int) -> Check:
    def check(value: Any) -> str | None:
        short = type(value) is list and len(value) < least
        return f" has fewer items than {least}" if short else None

    return check


def _min_length(least: int) -> Check:
    def check(value: Any) -> str | None:
        short = type(value) is str and len(value) < least
        return f" is shorter than {least}" if short else None

    return check


def _pattern(pattern: str) -> Check:
    search = re.compile(pattern).search

    def check(value: Any) -> str | None:
        return " does not match the pattern" if type(value) is str and search(value) is None else None

    return check


def _items(schema: Any) -> Check:
    if not isinstance(schema, Mapping):
        raise ValueError("no way to check items that are told one by one")  # noqa: TRY004 - a schema, not an argument
    item = _compile(schema)

    def check(value: Any) -> str | None:
        if type(value) is list:
            for position, entry in enumerate(value):
                if (fault := item(entry)) is not None:
                    return f"[{position}]{fault}"
        return None

    return check


def _required(names: Sequence[str]) -> Check:
    def check(value: Any) -> str | None:
        fields = value if type(value) is dict else _fields(value)
        if fields is None:
            return None
        for name in names:
            if name not in fields:
                return f".{name} is missing"
        return None

    return check


def _properties(schemas: Mapping[str, Mapping[str, Any]]) -> Check:
    checks = [(name, _compile(schema)) for name, schema in schemas.items()]

    def check(value: Any) -> str | None:
        fields = value if type(value) is dict else _fields(value)
        if fields is None:
            return None
        for name, field in checks:
            if name in fields and (fault := field(fields[name])) is not None:
                return f".{name}{fault}"
        return None

    return check


def _fields(value: Any) -> Mapping[str, Any] | None:
    """An object's fields; None for anything else. The driver makes a class of an object that begins with `$ref`."""
    if isinstance(value, dict):
        return value
    return value.as_doc() if isinstance(value, DBRef) else None


def _any_of(schemas: Sequence[Mapping[str, Any]]) -> Check:
    forms = [_compile(schema) for schema in schemas]

    def check(value: Any) -> str | None:
        faults = []
        for form in forms:
            if (fault := form(value)) is None:
                return None
            faults.append(_readable(fault))
        return f" has none of its forms: {'; or '.join(dict.fromkeys(faults))}"

    return check


COMPILERS: Mapping[str, Callable[[Any], Check]] = {
    "bsonType": _bson_type,
    "enum": _enum,
    "minimum": _limit(operator.ge, "less than"),
    "maximum": _limit(operator.le, "more than"),
    "minLength": _min_length,
    "pattern": _pattern,
    "minItems": _min_items,
    "items": _items,
    "required": _required,
    "properties": _properties,
    "anyOf": _any_of,
}
"""What is known of `$jsonSchema`, in the order in which faults are told."""
