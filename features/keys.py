"""Secret keys from the environment, and what they are for: hashes that only their owner can make again."""

import base64
import binascii
import hmac
from hashlib import sha256

from pydantic import SecretStr

from features.errors import InputError

KEY_BYTES = 32
HASH_DIGITS = 32
"""Hexadecimal digits kept of a hash: 128 bits, far beyond chance among all people there are."""
HASH_KEY, TOKEN_KEY = "ECHOTUNE_HASH_KEY", "ECHOTUNE_TOKEN_KEY"


def read_key(secret: SecretStr | None, variable: str) -> bytes:
    """The 32 bytes of a key that the environment holds in base64.

    Raises:
        InputError: it is not set or not 32 bytes; names the variable, never its value.
    """
    remedy = "make one with `openssl rand -base64 32` and keep it: what was made with it needs it again"
    if secret is None or not secret.get_secret_value().strip():
        raise InputError(f"environment variable {variable} is not set; {remedy}")
    try:
        key = base64.b64decode(secret.get_secret_value().strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise InputError(f"environment variable {variable} is not {KEY_BYTES} bytes in base64; {remedy}")
    return key


def keyed_hash(key: bytes, purpose: str, text: str) -> str:
    """HMAC-SHA-256 of a text, 32 hexadecimal digits; one purpose's hash tells nothing of another's.

    >>> keyed_hash(bytes(32), "ip", "192.0.2.1") == keyed_hash(bytes(32), "erased", "192.0.2.1")
    False
    """
    return hmac.new(key, f"{purpose}\x00{text}".encode(), sha256).hexdigest()[:HASH_DIGITS]


def key_id(key: bytes) -> str:
    """Tells one key from another without telling the key: 8 hexadecimal digits."""
    return keyed_hash(key, "key id", "")[:8]
