"""Batch feature store for music on MongoDB. Nothing heavy is imported here: ask for the room you need."""

__version__ = "0.1.0"
