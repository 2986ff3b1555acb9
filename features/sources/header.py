"""Which of a file's columns is which of ours: required ones, unknown ones, and `--map theirs=ours`."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from features.errors import InputError
from features.sources.kinds import KINDS, Kind

LEFT_OUT = "-"


def parse_mapping(pairs: Sequence[str]) -> dict[str, str]:
    """The `--map` options as a mapping from the file's column to ours; ours is `-` for a column to leave out.

    >>> parse_mapping(["item_id=track_id", "comment=-"])
    {'item_id': 'track_id', 'comment': '-'}

    Raises:
        InputError: not of the form theirs=ours, or a column is mapped twice.
    """
    mapping: dict[str, str] = {}
    for pair in pairs:
        theirs, equals, ours = (part.strip() for part in pair.rpartition("="))
        if not (theirs and equals and ours):
            raise InputError(f"--map {pair!r} is not of the form theirs=ours, such as --map item_id=track_id")
        if theirs in mapping:
            raise InputError(f"--map names the column {theirs!r} twice; keep one of them")
        mapping[theirs] = ours
    return mapping


def match_columns(kind: Kind, columns: Sequence[str], mapping: Mapping[str, str], path: Path) -> dict[str, str]:
    """The file's column for each of ours that it has, ours first.

    Raises:
        InputError: a column twice, missing, or unknown; a mapping from or to no column, or two to the same.
    """
    known = KINDS[kind]
    if twice := _repeated(columns):
        raise InputError(f"{path}: the column {_shown(twice)!r} is there twice; rename or remove one of them")
    for theirs, ours in mapping.items():
        if theirs not in columns:
            raise InputError(
                f"--map {theirs}={ours}: {path} has no column {theirs!r}{_close(theirs, columns)}; "
                f"it has {_listed(columns)}"
            )
        if ours != LEFT_OUT and ours not in known:
            raise InputError(
                f"--map {theirs}={ours}: {kind} have no column {ours!r}{_close(ours, known)}; "
                f"they have {_listed(known)}"
            )
    targets = {theirs: mapping.get(theirs, theirs) for theirs in columns}
    kept = {theirs: ours for theirs, ours in targets.items() if ours != LEFT_OUT}
    if twice := _repeated(list(kept.values())):
        both = " and ".join(repr(_shown(theirs)) for theirs, ours in kept.items() if ours == twice)
        raise InputError(
            f"{path}: {both} would both be {twice}; leave one out with --map column=-, or map it elsewhere"
        )
    _refuse_missing(kind, kept, columns, path)
    if unknown := [theirs for theirs, ours in kept.items() if ours not in known]:
        missing = [ours for ours in known if ours not in kept.values()]
        first = _shown(unknown[0])
        raise InputError(
            f"{path}: unknown column{'s' * (len(unknown) > 1)} {_listed(unknown)}{_close(unknown[0], missing)}; "
            f"name what it is with --map {first}=ours, or leave it out with --map {first}=-"
        )
    return {ours: theirs for theirs, ours in kept.items()}


def _refuse_missing(kind: Kind, kept: Mapping[str, str], columns: Sequence[str], path: Path) -> None:
    missing = [name for name, column in KINDS[kind].items() if column.required and name not in kept.values()]
    if not missing:
        return
    unknown = [theirs for theirs, ours in kept.items() if ours not in KINDS[kind]]
    guess = get_close_matches(missing[0], unknown, n=1, cutoff=0.5)
    hint = f"use --map {_shown(guess[0]) if guess else 'theirs'}={missing[0]}"
    if len(columns) == 1 and any(sign in columns[0] for sign in ";\t|,"):
        hint = "are its fields separated by another sign than its extension says?"
    raise InputError(
        f"{path}: no column {_listed(missing)}, which {kind} need; the file has {_listed(columns)}; {hint}"
    )


def _listed(names: Iterable[str], most: int = 30) -> str:
    every = [_shown(name) for name in names]
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def _shown(name: str) -> str:
    """A column's name for a message. A file without a header has a row there, perhaps with an address in it."""
    return "(an e-mail address)" if "@" in name else " ".join(name.split())[:60]


def _close(name: str, among: Iterable[str]) -> str:
    near = get_close_matches(name, list(among), n=1)
    return f" (is it {near[0]!r}?)" if near else ""


def _repeated(names: Sequence[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)
