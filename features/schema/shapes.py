"""What collections are described with: BSON shapes, indexes, validators."""

from dataclasses import dataclass
from typing import Any

from features.schema.names import AUDIO_FEATURES

Json = dict[str, Any]

ID: Json = {"bsonType": ["string", "objectId"]}
REFERENCE: Json = {"bsonType": ["objectId", "string", "null"]}
"""An id of a document elsewhere, where there may be none."""
TEXT: Json = {"bsonType": "string"}
STRING: Json = {"bsonType": ["string", "null"]}
STRINGS: Json = {"bsonType": ["array", "null"], "items": {"bsonType": "string"}}
DATE: Json = {"bsonType": "date"}
DATE_OR_NULL: Json = {"bsonType": ["date", "null"]}
DATES: Json = {"bsonType": ["array", "null"], "items": DATE}
BOOL: Json = {"bsonType": ["bool", "null"]}
OBJECT: Json = {"bsonType": ["object", "null"]}
NUMBER: Json = {"bsonType": ["int", "long", "double", "decimal"]}
COUNT: Json = {**NUMBER, "minimum": 0}
AMOUNT: Json = {"bsonType": ["int", "long", "double", "decimal", "null"], "minimum": 0}
"""A count, duration or cost that may be unknown."""


def between(low: float, high: float, *, nullable: bool = True) -> Json:
    """A number from low to high; null stands for unknown where it is allowed."""
    types = ["int", "long", "double", "decimal", *(["null"] if nullable else [])]
    return {"bsonType": types, "minimum": low, "maximum": high}


def one_of(values: tuple[str, ...], *, nullable: bool = True) -> Json:
    """One of a closed list of words."""
    return {"enum": [*values, *([None] if nullable else [])]}


def obj(properties: Json, required: tuple[str, ...] = ()) -> Json:
    """A sub-document; null stands for absent unless something in it is required."""
    types: Json = {"bsonType": "object", "required": list(required)} if required else {**OBJECT}
    return {**types, "properties": properties}


def objects(properties: Json, required: tuple[str, ...] = ()) -> Json:
    """An array of sub-documents, or null for none."""
    return {"bsonType": ["array", "null"], "items": obj(properties, required)}


AUDIO = obj(
    {
        feature.field: {"enum": [0, 1, None]} if feature.name == "mode" else between(feature.low, feature.high)
        for feature in AUDIO_FEATURES
    }
)


@dataclass(frozen=True)
class Index:
    """One index under one fixed name, so that a second create is never another index by accident."""

    keys: tuple[tuple[str, int], ...]
    unique: bool = False
    sparse: bool = False
    ttl_seconds: int | None = None
    partial: Json | None = None

    @property
    def name(self) -> str:
        """`field_direction` joined by underscores, as MongoDB itself would name it."""
        return "_".join(f"{field}_{direction}" for field, direction in self.keys)

    @property
    def options(self) -> Json:
        """What a server reports of the index beside its keys and name."""
        found: Json = {}
        if self.unique:
            found["unique"] = True
        if self.sparse:
            found["sparse"] = True
        if self.ttl_seconds is not None:
            found["expireAfterSeconds"] = self.ttl_seconds
        if self.partial is not None:
            found["partialFilterExpression"] = self.partial
        return found


@dataclass(frozen=True)
class Collection:
    """A collection's name, what it is for, what its documents must be, and its indexes."""

    name: str
    purpose: str
    validator: Json
    indexes: tuple[Index, ...]


def index(
    *keys: str, unique: bool = False, sparse: bool = False, ttl_seconds: int | None = None, partial: Json | None = None
) -> Index:
    """An index from field names; a leading minus means descending."""
    pairs = tuple((key.lstrip("-"), -1 if key.startswith("-") else 1) for key in keys)
    return Index(pairs, unique=unique, sparse=sparse, ttl_seconds=ttl_seconds, partial=partial)


def schema(properties: Json, required: tuple[str, ...], **more: Any) -> Json:
    """A `$jsonSchema` validator."""
    return {"$jsonSchema": {"bsonType": "object", "required": list(required), "properties": properties, **more}}
