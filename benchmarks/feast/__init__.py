"""Feast beside us: what it takes to write the same vectors into the same server."""
