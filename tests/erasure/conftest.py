"""Fixtures of the erasure's tests."""

from persons import lived

__all__ = ["lived"]
