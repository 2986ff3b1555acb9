"""What `--memory-limit` and `ECHOTUNE_MEMORY_LIMIT` mean."""

import re

from features.errors import InputError

UNITS = {"MB": 10**6, "GB": 10**9, "MIB": 2**20, "GIB": 2**30}
LEAST = 500 * UNITS["MB"]
"""Below this not even an empty night fits."""


def resolve_memory_limit(text: str, name: str = "--memory-limit") -> int:
    """How many bytes `8GB`, `512MB`, `7.5 GiB` is.

    Args:
        text: as it was written.
        name: where, for the error.

    Raises:
        InputError: it is not written so, or is less than 500 MB.
    """
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)\s*([MG]i?B)", text.strip(), re.IGNORECASE)
    if found is None:
        raise InputError(f"{name} {text} is no size; write 8GB, 512MB or 7.5GiB")
    size = round(float(found[1]) * UNITS[found[2].upper()])
    if size < LEAST:
        raise InputError(f"{name} {text} is less than the 500 MB that any night takes; write 1GB or more")
    return size


def in_words(size: int) -> str:
    """Bytes for a person: `1.2 GB`, `350 MB`."""
    return f"{size / 1e9:.1f} GB" if size >= UNITS["GB"] else f"{size / 1e6:.0f} MB"
