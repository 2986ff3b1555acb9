"""Fixtures of the erasure's tests."""

from persons import lived, original

__all__ = ["lived", "original"]
