"""Iterators run ahead on threads, their items in order all the same, and never more of them than a bound."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
STOP_S = 0.05
"""How soon a thread that waits for room in its queue notices that nobody wants more."""


def in_order(sources: Sequence[Callable[[], Iterator[Item]]], threads: int, ahead: int) -> Iterator[Item]:
    """The items of some iterators, those of the first and then those of the next, made ahead of who takes them.

    One thread runs each iterator, `threads` of them at a time: the one that is being taken from and those after it.
    Each stops after `ahead` items until one is taken, so that there are at most `threads * ahead` items waiting and one
    more with each thread. What comes is the same for any number of threads.

    Args:
        sources: each makes an iterator, in the thread that runs it.
        threads: 0 runs them in the caller's, nothing ahead.
        ahead: items of each iterator, one or more.

    Raises:
        Whatever an iterator raises, when its turn has come and the items before are taken.
    """
    if not threads:
        for make in sources:
            yield from make()
        return
    stop = threading.Event()
    running: list[_Ahead[Item]] = []
    try:
        for position in range(len(sources)):
            running.extend(_Ahead(make, ahead, stop) for make in sources[len(running) : position + threads])
            yield from running[position].items()
    finally:
        stop.set()
        for each in running:
            each.thread.join()


@dataclass
class _End:
    """Behind an iterator's last item; with what it raised, if anything."""

    error: BaseException | None


class _Ahead(Generic[Item]):
    """One iterator and the thread that runs it."""

    def __init__(self, make: Callable[[], Iterator[Item]], ahead: int, stop: threading.Event) -> None:
        self._make = make
        self._made: queue.Queue[Item | _End] = queue.Queue(ahead)
        self._stop = stop
        self.thread = threading.Thread(target=self._run, daemon=True, name="ahead")
        self.thread.start()

    def items(self) -> Iterator[Item]:
        """What the iterator made, in order."""
        while not isinstance(made := self._made.get(), _End):
            yield made
        if made.error is not None:
            raise made.error

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._make():
                if not self._put(item):
                    return
        except BaseException as raised:  # noqa: BLE001 - raised again by whose turn it is
            error = raised
        self._put(_End(error))

    def _put(self, item: Item | _End) -> bool:
        """Waits for room; False when nobody wants more."""
        while not self._stop.is_set():
            try:
                self._made.put(item, timeout=STOP_S)
            except queue.Full:
                continue
            return True
        return False
