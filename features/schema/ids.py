"""Ids at the border: one text form for the database's two id types, and ObjectIds made from content."""

from hashlib import blake2b

from bson import ObjectId

from features.schema.names import MAX_ID_BYTES

UserId = str | ObjectId
OBJECT_ID_PREFIX = "oid:"
STRING_PREFIX = "str:"


def encode_id(value: UserId) -> str:
    """One text for an id of either type, so that no two ids share a text.

    >>> encode_id("alice"), encode_id(ObjectId("64b000000000000000000001"))
    ('alice', 'oid:64b000000000000000000001')
    >>> encode_id("oid:looks-like-one")  # a string that looks like a tagged id gets a tag of its own
    'str:oid:looks-like-one'
    """
    if isinstance(value, ObjectId):
        return f"{OBJECT_ID_PREFIX}{value}"
    if value.startswith((OBJECT_ID_PREFIX, STRING_PREFIX)):
        return f"{STRING_PREFIX}{value}"
    return value


def decode_id(text: str) -> UserId:
    """The id that `encode_id` made the text from.

    >>> decode_id("oid:64b000000000000000000001"), decode_id("alice")
    (ObjectId('64b000000000000000000001'), 'alice')
    """
    if text.startswith(STRING_PREFIX):
        return text.removeprefix(STRING_PREFIX)
    if text.startswith(OBJECT_ID_PREFIX) and ObjectId.is_valid(text.removeprefix(OBJECT_ID_PREFIX)):
        return ObjectId(text.removeprefix(OBJECT_ID_PREFIX))
    return text


def meant_ids(user: UserId) -> list[UserId]:
    """The ids that a caller may mean, likeliest first: as given, else, for 24 hexadecimal digits, the ObjectId.

    >>> meant_ids("alice"), meant_ids("oid:64b000000000000000000001")
    (['alice'], [ObjectId('64b000000000000000000001')])
    >>> meant_ids("64b000000000000000000001")
    ['64b000000000000000000001', ObjectId('64b000000000000000000001')]
    """
    if isinstance(user, ObjectId):
        return [user]
    first = decode_id(user)
    is_hexadecimal = len(user) == 24 and ObjectId.is_valid(user)
    return [first, ObjectId(user)] if is_hexadecimal and first == user else [first]


def id_fault(text: str | None) -> str | None:
    """Why a text can't be an id, or None when it can."""
    if text is None or not text.strip():
        return "is missing"
    if len(text.encode()) > MAX_ID_BYTES:
        return f"is longer than {MAX_ID_BYTES} bytes"
    if "\x00" in text:
        return "holds a NUL character"
    return None


def content_object_id(*parts: object) -> ObjectId:
    """An ObjectId made from a hash of the parts: the same content has the same `_id`, wherever it is made.

    The parts are joined by a NUL, which no id may hold, so ("ab", "c") and ("a", "bc") differ.
    """
    text = "\x00".join(str(part) for part in parts)
    return ObjectId(blake2b(text.encode(), digest_size=12).digest())
