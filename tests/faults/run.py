"""One point from start to end: a night is disturbed, made well, followed by an undisturbed run, and looked at."""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from faults import steps
from faults.disturb import Case
from faults.night import BrokenPromiseError, Night
from faults.points import Point
from faults.watch import Reader, Writer, as_built
from faults.world import DATABASE, OTHER_WORDS, Base, Twin, difference, documents_of, said_of, state_of
from features.release.ledger import read_pointer


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    point: int
    fault: str
    moment: str
    outcome: str
    passed: bool
    problems: list[str]
    observations: int
    seconds: float


@dataclass(frozen=True)
class Expected:
    """What undisturbed runs made: of the night, of the night before, and of a run with other words."""

    night: Twin
    said: Mapping[str, Mapping[Any, str]]
    """By release, in the order in which readers may meet them."""
    documents: Mapping[str, Mapping[str, Mapping[Any, bytes]]]
    """By release, output and `_id`; also of a release that no reader who follows the pointer may meet."""
    other: str


def expect(base: Base, scratch: Path) -> Expected:
    """Runs the undisturbed twins.

    Raises:
        LookupError: a named step is none of a night any more.
    """
    other, *_ = _twin(base, scratch / "other", OTHER_WORDS)  # first: the first job waits for the imports
    night, old_said, old_documents = _twin(base, scratch / "twin", [])
    missed = steps.STEPS.keys() - {moment.step for moment in night.moments}
    if missed:
        raise LookupError(f"a night does not come to {', '.join(sorted(missed))}; mend the table in {steps.__file__}")
    return Expected(
        night,
        {base.old: old_said, night.release: night.said},
        {base.old: old_documents, night.release: night.documents, other.release: other.documents},
        other.release,
    )


def _twin(base: Base, folder: Path, words: list[str]) -> tuple[Twin, dict[Any, str], dict[str, dict[Any, bytes]]]:
    with Night(base, folder) as night:
        proxy = night.proxy()
        run = night.start(words=words, through=proxy, trace=True)
        moments = run.passed()
        ended = run.end()
        seconds = time.monotonic() - run.started
        if ended.status != 0:
            raise BrokenPromiseError(f"an undisturbed run ended with {ended}")
        with night.server.client() as client:
            database = client[DATABASE]
            pointer = read_pointer(database)
            assert pointer is not None
            assert pointer.previous == base.old
            made = Twin(
                pointer.release,
                said_of(database, pointer.release),
                documents_of(database, pointer.release, as_built),
                state_of(database, night.home),
                seconds,
                moments,
                proxy.passed,
            )
            before = said_of(database, base.old), documents_of(database, base.old, as_built)
    night.remove()
    return made, *before


def run_point(point: Point, base: Base, expected: Expected, scratch: Path) -> Row:
    """Disturbs one night and judges it; its folder is removed if all held."""
    started = time.monotonic()
    folder = scratch / f"point-{point.number:03d}"
    problems: list[str] = []
    moment, outcome, observations = str(point.moment or ""), "", 0
    try:
        with Night(base, folder) as night, night.server.client() as client:
            reader = Reader(client[DATABASE], expected.said, expected.documents, point.seed)
            writer = Writer(client[DATABASE], base.writes_at)
            with _at_work(reader, writer):
                told = point.kind.strike(Case(night, expected.night, point.moment, Random(point.seed)))
                moment, outcome = told.moment, told.outcome
                _follow_up(night, expected)
            problems += _judge(night, client[DATABASE], reader, writer, expected)
            observations = reader.looks
    except BrokenPromiseError as error:
        problems.append(str(error))
    except Exception as error:  # noqa: BLE001 - the harness's own faults are points that did not hold
        problems.append(f"{type(error).__name__}: {error}")
    if not problems:
        night.remove()
    seconds = round(time.monotonic() - started, 1)
    return Row(point.number, point.kind.name, moment, outcome, not problems, problems, observations, seconds)


@contextlib.contextmanager
def _at_work(*watchers: Reader | Writer) -> Any:
    for one in watchers:
        one.start()
    try:
        yield
    finally:
        for one in watchers:
            one.stop()


def _follow_up(night: Night, expected: Expected) -> None:
    """The next run, which nobody disturbs."""
    ended = night.start(label="next").end()
    if ended.status != 0 or f"release {expected.night.release} live" not in ended.out:
        raise BrokenPromiseError(f"the next run ended with {ended}: {ended.out.strip()[-80:]}")


def _judge(night: Night, database: Any, reader: Reader, writer: Writer, expected: Expected) -> list[str]:
    looks = reader.looks
    reader.look()
    problems = [*reader.problems, *writer.problems]
    if reader.seen[-1] != expected.night.release or not looks:
        problems.append(f"the reader looked {looks} times and ended with {reader.seen[-1]}")
    if missing := writer.missing():
        problems.append(f"{missing} of {len(writer.acknowledged)} acknowledged plays are missing")
    ignored = frozenset({expected.other})
    return problems + difference(state_of(database, night.home, ignored), expected.night.state)
