"""The named steps of a night: where a fault can be put. The one place that knows the names of the code's functions."""

import contextlib
import functools
import importlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

STEPS = {
    "schema": "features.schema.plan.apply",
    "lease taken": "features.release.ledger._take_lease",
    "lease renewed": "features.release.ledger._renew",
    "lease checked": "features.release.ledger.check_lease",
    "lease held": "flows.nightly.hold_lease",
    "plays read": "features.snapshot.take.take_plays",
    "table read": "features.snapshot.take._take_whole",
    "part written": "features.snapshot.books.write_part",
    "snapshot manifest": "features.snapshot.take.write_manifest",
    "snapshot tidied": "features.snapshot.take.remove_strays",
    "snapshot": "flows.nightly.take_snapshot",
    "parquet": "pyarrow.parquet.write_table",
    "file synced": "features.storage._sync",
    "folder renamed": "features.release.build.whole_folder",
    "reference": "flows.nightly.find_reference",
    "build": "flows.nightly.build_release",
    "gate": "flows.nightly.pass_gate",
    "erased left out": "features.release.publish.leave_out_erased",
    "upload": "features.release.publish.upload",
    "recorded": "features.release.publish.record",
    "chunk sent": "features.release.publish._insert",
    "release noted": "features.release.publish.update",
    "verified": "features.release.publish.verify",
    "events": "features.release.publish.append_events",
    "pointer moved": "features.release.publish.move_pointer",
    "switch": "features.release.publish.switch",
    "publish": "flows.nightly.publish_release",
    "pruned": "flows.nightly.prune",
    "old expired": "features.release.retention.expire",
    "documents withdrawn": "features.release.retention.withdraw",
    "old noted": "features.release.retention.update",
    "folder removed": "features.release.retention._remove",
    "mirrored": "flows.nightly.mirror_cache",
    "attributed": "flows.nightly.attribute_feedback",
    "responses read": "features.attribution.attribute.read_columns",
    "feedback written": "features.attribution.writing._write",
    "scorecard noted": "features.attribution.attribute.update",
}
"""Each step and the function that makes it, by the name it is *called* by: a module that imported the function has a
name of its own for it."""


@dataclass(frozen=True, order=True)
class Moment:
    """Just before or after the n-th time, from 1, that a night comes to a step."""

    step: str
    when: str
    occurrence: int

    def __str__(self) -> str:
        return f"{self.when} {self.step}" + (f" {self.occurrence}" if self.occurrence > 1 else "")


def find(dotted: str) -> tuple[Any, str]:
    """The object that holds a function, and the function's name in it.

    Raises:
        LookupError: there is none of that name any more.
    """
    words = dotted.split(".")
    for length in range(len(words) - 1, 0, -1):
        with contextlib.suppress(ModuleNotFoundError):
            holder: Any = importlib.import_module(".".join(words[:length]))
            for word in words[length:-1]:
                holder = getattr(holder, word, None)
            if callable(getattr(holder, words[-1], None)):
                return holder, words[-1]
            break
    raise LookupError(f"{dotted} is no function any more; mend the table of steps in {__file__}")


def install(reached: Callable[[Moment], None]) -> None:
    """Has `reached` called at every moment of every step of this process, from the thread that is there."""
    for step, dotted in STEPS.items():
        holder, name = find(dotted)
        setattr(holder, name, _watched(getattr(holder, name), step, Counter(), reached))


def _watched(
    function: Callable[..., Any], step: str, times: Counter[str], reached: Callable[[Moment], None]
) -> Callable[..., Any]:
    def come_to(when: str) -> None:
        times[when] += 1
        reached(Moment(step, when, times[when]))

    @functools.wraps(function)
    def watched(*args: Any, **named: Any) -> Any:
        come_to("before")
        result = function(*args, **named)
        if isinstance(result, AbstractContextManager) and not hasattr(result, "read"):
            return block(result)
        come_to("after")
        return result

    @contextmanager
    def block(inner: AbstractContextManager[Any]) -> Iterator[Any]:
        with inner as value:
            yield value
            come_to("at the end of")
        come_to("after")

    return watched
