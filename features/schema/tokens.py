"""Spotify tokens: encrypted so that the app can read them, and how a plain one is told (`docs/tokens.md`)."""

import base64
import hmac
import re

from bson import ObjectId
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from features.errors import InputError

TOKEN_FIELDS = ("accessToken", "refreshToken")
PREFIX = "v1.aes256gcm."
OURS = re.compile(r"v1\.aes256gcm\.([A-Za-z0-9_-]{16})\.([A-Za-z0-9_-]{22,})")
NONCE_BYTES = 12
OPENSSL = re.compile(r"U2FsdGVkX1[A-Za-z0-9+/]+={0,2}")
"""Base64 of `Salted__` and what follows it; CryptoJS writes the same."""
FERNET = re.compile(r"gAAAA[A-Za-z0-9_-]{90,}={0,2}")
"""Base64 of version 0x80 and the time: seventy-three bytes at least, one hundred characters."""
HEX_GROUPS = re.compile(r"(?:[0-9a-fA-F]{2})+(?::(?:[0-9a-fA-F]{2})+)+")
"""Such as iv:tag:data, as people write with `node:crypto`."""
HEX_GROUPS_DIGITS = 32


def encrypt_token(key: bytes, user_id: str | ObjectId, field: str, plain: str) -> str:
    """A token under AES-256-GCM, bound to its user and field; the same call gives the same text.

    The nonce is not drawn but made from the token, as SIV modes do it: the first 12 bytes of HMAC-SHA-256 over
    additional data, NUL and token, under a key derived for that alone. So a run that was killed and run again writes
    the same bytes. GCM asks that no nonce serves two different messages. Here, two messages with one nonce would be a
    collision of 96 pseudo-random bits, which for a thousand million tokens under one key has a chance of one in 10^11.
    What is equal are only texts of the same token of the same user and field: whoever sees both learns that it did not
    change, and nothing else.

    Args:
        key: 32 bytes.
        user_id: as the user's document has it; an ObjectId counts as its 24 hexadecimal digits.
        field: "accessToken" or "refreshToken".
        plain: the token.

    Raises:
        InputError: the user id can't be used.
    """
    data, message = _additional_data(user_id, field), plain.encode()
    nonce_key = hmac.digest(key, b"echotune token nonce", "sha256")
    nonce = hmac.digest(nonce_key, data + b"\x00" + message, "sha256")[:NONCE_BYTES]
    return f"{PREFIX}{_encode(nonce)}.{_encode(AESGCM(key).encrypt(nonce, message, data))}"


def decrypt_token(key: bytes, user_id: str | ObjectId, field: str, token: str) -> str:
    """The token that `encrypt_token`, or an app with any other nonce, made the text from.

    Raises:
        InputError: it is not in our form, damaged, another user's or field's, or under another key. Shows none of it.
    """
    found = OURS.fullmatch(token)
    if found is None:
        raise InputError(f"{field} is not a token in the form {PREFIX}NONCE.DATA; see docs/tokens.md")
    try:
        plain = AESGCM(key).decrypt(_decode(found[1]), _decode(found[2]), _additional_data(user_id, field))
        return plain.decode()
    except (InvalidTag, ValueError):
        raise InputError(
            f"{field} can't be decrypted: it is damaged, belongs to another user or field, or needs another key; "
            "check ECHOTUNE_TOKEN_KEY"
        ) from None


def looks_encrypted(text: str) -> bool:
    """Whether a token is ciphertext: in our form, even a damaged one, or in one that other apps use.

    Known are OpenSSL's and CryptoJS's `U2FsdGVkX1…`, Fernet's `gAAAA…`, and groups of hexadecimal bytes joined by
    colons, of 32 digits at least. Everything else is taken for plain.

    >>> looks_encrypted("00112233445566778899aabbccddeeff:0011"), looks_encrypted("BQDexample")
    (True, False)
    """
    if text.startswith(PREFIX) or OPENSSL.fullmatch(text) or FERNET.fullmatch(text):
        return True
    return HEX_GROUPS.fullmatch(text) is not None and len(text.replace(":", "")) >= HEX_GROUPS_DIGITS


def can_be_bound_to(user_id: object) -> bool:
    """Whether a user's id tells whose a token is; a NUL would let two pairs of id and field look the same."""
    return isinstance(user_id, ObjectId) or (isinstance(user_id, str) and user_id != "" and "\x00" not in user_id)


def _additional_data(user_id: str | ObjectId, field: str) -> bytes:
    """User and field, joined by a NUL, which neither holds: the token can't be moved to another of them."""
    if not can_be_bound_to(user_id):
        raise InputError("the userId is missing, of another type or holds a NUL; no token can be bound to it")
    return f"{user_id}\x00{field}".encode()


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
