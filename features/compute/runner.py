"""Where shards are worked on: one contract for threads here and workers elsewhere, and the threads.

A shard's function is pure: what it returns depends on what is shared and on the item alone. So it may be run anywhere,
twice, or again after a worker was lost, and the results, which come in the order of the items, are the same.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Runner(Protocol):
    """Runs a function over items, somewhere."""

    @property
    def workers(self) -> int:
        """How many items are worked on at once, one or more."""

    def share(self, value: Any) -> Any:
        """Takes something large that many items need to where they are worked on, once.

        Returns:
            What stands for it in `ordered`; it is let go of there when nobody here holds this any more.
        """

    def ordered(
        self,
        function: Callable[..., Result],
        shared: Sequence[Any],
        items: Iterable[Item],
        in_flight: int | None = None,
    ) -> Iterator[Result]:
        """What `function(*shared, item)` returns for each item, in the order of the items.

        Args:
            function: pure, and known by its name, for those who work elsewhere.
            shared: what `share` gave.
            items: small; taken as they are begun.
            in_flight: items that are begun and whose results are not taken, at most: so many results are held.
                By default as many as keep every worker at work.

        Raises:
            Whatever the function raises, when the turn of its item has come. No further item is begun then, nor when
            the iterator is closed before its end.
        """


class Threads:
    """Runs in this process, on threads; with one worker in the caller's own, each item when it is asked for.

    Threads gain time where the function lets go of the interpreter's lock.
    """

    def __init__(self, workers: int = 1) -> None:
        if workers < 1:
            raise ValueError(f"{workers} threads asked for; at least one is needed")
        self._workers = workers

    @property
    def workers(self) -> int:
        """How many items are worked on at once."""
        return self._workers

    def share(self, value: Any) -> Any:
        """It is here already."""
        return value

    def ordered(
        self,
        function: Callable[..., Result],
        shared: Sequence[Any],
        items: Iterable[Item],
        in_flight: int | None = None,
    ) -> Iterator[Result]:
        """See `Runner`."""
        if self.workers == 1:
            yield from (function(*shared, item) for item in items)
            return
        with ThreadPoolExecutor(self.workers) as pool:
            yield from window(
                lambda item: pool.submit(function, *shared, item), items, in_flight or self.workers + 1, Future.cancel
            )


Running = TypeVar("Running", bound=Any)


def window(
    begin: Callable[[Item], Running], items: Iterable[Item], in_flight: int, cancel: Callable[[Running], Any]
) -> Iterator[Any]:
    """Results in order, of items of which at most so many are begun and not taken.

    Args:
        begin: begins an item; what it returns has its `result()`.
        items: in order.
        in_flight: one or more.
        cancel: takes back what was begun and is not wanted any more.
    """
    waiting = iter(items)
    running = deque(begin(item) for item in islice(waiting, in_flight))
    try:
        while running:
            result = running.popleft().result()
            yield result
            del result  # not held while the next one is waited for
            running.extend(begin(item) for item in islice(waiting, 1))
    finally:
        for unwanted in running:
            cancel(unwanted)
