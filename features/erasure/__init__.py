"""Erasing a person: from every collection, other people's lists, releases, the snapshot and set-aside files."""
