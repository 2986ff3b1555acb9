"""The data model's document and what it is made from."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from features.errors import InputError
from features.schema import names
from features.schema.collections import COLLECTIONS
from features.schema.describe import blocks, describe, fields, fill, holds, main
from features.schema.shapes import DATE, TEXT, Collection, between, index, obj, objects, schema

DOCUMENT = Path(__file__).parents[2] / "docs" / "data-model.md"
SMALL = Collection(
    "small",
    "Made for a test.",
    schema(
        {
            "word": {**TEXT, "pattern": "a|b"},
            "inner": obj({"share": between(0, 1)}),
            "many": objects({"on": DATE}, ("on",)),
        },
        ("word",),
    ),
    (
        index("word", "-inner.share", unique=True, sparse=True),
        index("many.on", ttl_seconds=2 * 86_400),
        index("inner", ttl_seconds=90),
        index("many", ttl_seconds=0, partial={"word": {"$exists": True}}),
    ),
)
SMALL_IN_WORDS = """\
Made for a test.

| field | holds | required |
| --- | --- | --- |
| `word` | text, matching `a\\|b` | yes |
| `inner` | object or null |  |
| `inner.share` | number, 0 to 1, or null |  |
| `many` | list of objects or null |  |
| `many[].on` | date | yes |

| index | keys | options |
| --- | --- | --- |
| `word_1_inner.share_-1` | `word: 1, inner.share: -1` | unique, sparse |
| `many.on_1` | `many.on: 1` | TTL: removed after 2 days |
| `inner_1` | `inner: 1` | TTL: removed after 90 s |
| `many_1` | `many: 1` | TTL: removed from that moment on, only documents with `{"word": {"$exists": true}}` |"""


def properties(rule: object) -> list[str]:
    """The names of all properties, by a walk that knows nothing of a schema's order."""
    if isinstance(rule, list):
        return [name for item in rule for name in properties(item)]
    if not isinstance(rule, dict):
        return []
    own = list(rule["properties"]) if isinstance(rule.get("properties"), dict) else []
    return own + [name for value in rule.values() for name in properties(value)]


def test_the_document_is_what_its_data_says():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert fill(text) == text, "run: python -m features.schema.describe docs/data-model.md"


def test_every_collection_has_one_block_in_the_document():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert sorted(re.findall(r"<!-- generated: (\S+) -->", text)) == sorted(entry.name for entry in COLLECTIONS)
    assert blocks(text) == {collection.name: describe(collection) for collection in COLLECTIONS}


@pytest.mark.parametrize("collection", COLLECTIONS, ids=lambda collection: collection.name)
def test_every_field_of_a_validator_and_every_index_is_in_its_table(collection):
    rule = collection.validator["$jsonSchema"]
    told = re.findall(r"^\| `([^`]+)` \|", describe(collection), re.MULTILINE)
    assert told == [*(field.path for field in fields(rule)), *(entry.name for entry in collection.indexes)]
    named = {path.rpartition(".")[2] for path in told}
    assert set(properties({name: value for name, value in rule.items() if name != "anyOf"})) <= named


@pytest.mark.parametrize("collection", COLLECTIONS, ids=lambda collection: collection.name)
def test_every_limit_of_a_field_is_told(collection):
    for line, rule in zip(fields(collection.validator["$jsonSchema"]), rules(collection.validator), strict=True):
        for limit in ("minimum", "maximum"):
            assert limit not in rule or f"{rule[limit]:,}" in line.holds
        assert all(f"`{value}`" in line.holds for value in rule.get("enum", ()) if value is not None)
        nullable = None in rule.get("enum", ()) or "null" in rule.get("bsonType", ())
        assert line.holds.endswith("null") == nullable


def rules(rule: dict) -> list[dict]:
    """The rules of all fields, in the order of the table."""
    found = []
    for own in (rule.get("$jsonSchema", rule)).get("properties", {}).values():
        found += [own, *rules(own), *rules(own.get("items", {}))]
    return found


def test_a_collection_in_words():
    assert describe(SMALL) == SMALL_IN_WORDS


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"bsonType": ["int", "long"]}, "int or long"),
        ({"bsonType": "double", "minimum": 1}, "double, at least 1"),
        ({"bsonType": "double", "maximum": 86_400_000}, "double, at most 86,400,000"),
        ({"enum": ["a", "b", None]}, "`a` or `b`, or null"),
        ({"bsonType": ["string", "objectId", "null"]}, "text or ObjectId, or null"),
        (
            {"bsonType": ["array", "null"], "items": {"bsonType": ["object", "null"]}},
            "list of objects or nulls, or null",
        ),
        (
            {"bsonType": "array", "minItems": 1, "items": {"bsonType": "string", "minLength": 1}},
            "list of text (not empty), at least 1",
        ),
    ],
)
def test_what_a_field_holds_in_words(rule, words):
    assert holds(rule) == words


def test_kinds_of_documents_are_told():
    told = describe(next(collection for collection in COLLECTIONS if collection.name == names.RELEASES))
    assert "- `_id` is `lease`; required: `owner`, `token`, `expiresAt`" in told
    assert "- `_id` matches `^erased:`; required: `erasedAt`, `keyId`, `counts`" in told
    told = describe(next(collection for collection in COLLECTIONS if collection.name == names.FEATURE_STORE))
    assert "- `featureType` is `similarity`; required: `userId`, `features.neighbors`" in told
    assert '{"$size": "$features.vector"}' in told


def test_only_what_is_between_the_marks_is_made_anew():
    text = "before\n\n<!-- generated: small -->\nold\n<!-- end -->\nafter\n"
    filled = fill(text, [SMALL])
    assert filled == f"before\n\n<!-- generated: small -->\n\n{SMALL_IN_WORDS}\n\n<!-- end -->\nafter\n"
    assert fill(filled, [SMALL]) == filled
    assert fill("nothing to fill\n") == "nothing to fill\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x\n<!-- generated: smal -->\n<!-- end -->\n", "line 2: no collection smal; there are small"),
        ("<!-- generated: small -->\n", "the block of small has no <!-- end -->"),
        ("<!-- end -->\n", "line 1: <!-- end --> is out of turn"),
        (
            "<!-- generated: small -->\n<!-- generated: small -->\n<!-- end -->\n",
            "line 2: <!-- generated: small --> is",
        ),
    ],
)
def test_a_mark_out_of_place_is_told(text, message):
    with pytest.raises(InputError, match=re.escape(message)):
        fill(text, [SMALL])


def test_the_command_renews_a_document_and_says_what_changed(tmp_path):
    path = tmp_path / "model.md"
    text = DOCUMENT.read_text(encoding="utf-8")
    path.write_text(text.replace("| `spotifyId` | text |", "| `spotifyId` | number |"), encoding="utf-8")
    assert main([str(path)]) == f"{path}: users, tracks changed"
    assert path.read_text(encoding="utf-8") == text
    assert main([str(path)]) == f"{path}: nothing changed"


def test_the_command_says_in_one_line_what_it_can_not_use(tmp_path):
    with pytest.raises(InputError, match="name one document"):
        main([])
    command = [sys.executable, "-m", "features.schema.describe", str(tmp_path / "missing.md")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "check the path" in done.stderr
