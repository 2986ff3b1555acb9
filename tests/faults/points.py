"""Which points a run of the harness has: every fault, spread over every moment of the night, by a seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from random import Random

from faults import disturb
from faults.disturb import Fault
from faults.steps import Moment

ANY, HELD, UNPUBLISHED, UPLOADING, WRITING_FILES = "any", "held", "unpublished", "uploading", "writing files"


@dataclass(frozen=True)
class Kind:
    """A fault, how many of 300 points it gets, and the part of the night it may strike in."""

    name: str
    strike: Fault
    share: int
    part: str | None = None


KINDS = (
    Kind("job killed at a step", disturb.kill_at_step, 110, ANY),
    Kind("job killed at random", disturb.kill_at_random, 25),
    Kind("job killed twice", disturb.kill_twice, 15, ANY),
    Kind("server killed at a step", disturb.kill_server_at_step, 25, ANY),
    Kind("server killed at random", disturb.kill_server_at_random, 15),
    Kind("server and job killed", disturb.kill_both, 12, ANY),
    Kind("connection cut in a batch", disturb.cut_in_batch, 20, UPLOADING),
    Kind("connection gone for a while", disturb.cut_for_a_while, 12),
    Kind("connection gone for good", disturb.cut_for_good, 6),
    Kind("command fails for a while", disturb.fail_for_a_while, 20, ANY),
    Kind("command fails for good", disturb.fail_for_good, 12, UNPUBLISHED),
    Kind("disk full from a step on", disturb.fill_disk, 8, WRITING_FILES),
    Kind("disk full at the start", disturb.start_on_full_disk, 2),
    Kind("server's disk full", disturb.fill_server_disk, 4, UPLOADING),
    Kind("run asleep past its lease", disturb.sleep_past_lease, 8, HELD),
    Kind("a second run beside", disturb.run_two, 4, HELD),
    Kind("two runs at once", disturb.start_two, 2),
)


@dataclass(frozen=True)
class Point:
    """One night to disturb."""

    number: int
    kind: Kind
    moment: Moment | None
    seed: int


def plan(points: int, seed: int, moments: Sequence[Moment]) -> list[Point]:
    """So many points, in an order of their own: each kind once at least, the rest by share.

    A kind goes through the moments of its part of the night in a random order, but first once through every step.
    """
    chance = Random(seed)
    chosen = [
        (kind, moment)
        for kind, count in zip(KINDS, _counts(points), strict=True)
        for moment in islice(_moments(kind, moments, chance), count)
    ]
    chance.shuffle(chosen)
    return [Point(number, kind, moment, chance.getrandbits(32)) for number, (kind, moment) in enumerate(chosen, 1)]


def _counts(points: int) -> list[int]:
    """Points a kind: the largest remainders get what is left over."""
    total = sum(kind.share for kind in KINDS)
    exact = [max(1.0, points * kind.share / total) for kind in KINDS]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(KINDS)), key=lambda k: counts[k] - exact[k])
    for position in islice(cycle(by_remainder), max(0, points - sum(counts))):
        counts[position] += 1
    while sum(counts) > max(points, len(KINDS)):
        counts[counts.index(max(counts))] -= 1
    return counts


def _moments(kind: Kind, moments: Sequence[Moment], chance: Random) -> Iterator[Moment | None]:
    if kind.part is None:
        return cycle([None])
    there = part_of(moments, kind.part)
    if not there:
        raise LookupError(f"the undisturbed night has no moment in its part {kind.part!r}, for {kind.name!r}")
    shuffled = chance.sample(there, len(there))
    seen: set[tuple[str, str]] = set()
    first = [m for m in shuffled if (m.step, m.when) not in seen and not seen.add((m.step, m.when))]
    return cycle([*first, *(m for m in shuffled if m not in first)])


def part_of(moments: Sequence[Moment], part: str) -> list[Moment]:
    """The moments of a part of the night, of the order in which an undisturbed one came to them."""

    def at(step: str, when: str) -> int:
        return moments.index(Moment(step, when, 1))

    taken, switched = at("lease taken", "after"), at("pointer moved", "before")
    uploading, verifying = at("upload", "before"), at("verified", "before")
    if part == ANY:
        return list(moments)
    if part == HELD:
        return [m for m in moments[taken : switched + 1] if m.step != "lease renewed"]
    if part == UNPUBLISHED:
        return [m for m in moments[taken:uploading] if m.step != "lease renewed"]
    if part == UPLOADING:
        return [m for m in moments[uploading:verifying] if m.step == "chunk sent" and m.when == "before"]
    writing = {"parquet", "file synced", "folder renamed"}
    return [m for m in moments[taken:uploading] if m.step in writing and m.when == "before"]
