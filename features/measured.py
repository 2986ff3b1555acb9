"""What a stage of work took: its time, and the most memory the process held meanwhile."""

import contextlib
import ctypes
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from features.progress import Progress, silent

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes of what `getrusage` counts in."""


class Stages:
    """Times stages and tells of them; one after the other, since memory is the whole process's.

    Attributes:
        timings: seconds of each, by name.
        peak_memory: bytes, the highest resident memory of the process while it ran. Where the kernel does not let the
            mark be reset, as outside Linux, the highest up to its end.
    """

    def __init__(self, progress: Progress = silent) -> None:
        self.progress = progress
        self.timings: dict[str, float] = {}
        self.peak_memory: dict[str, int] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """A stage; of one that is entered again the times are added, and the peak is the higher."""
        self.progress(f"computing {name}", 0, None)
        reset_peak()
        start = time.perf_counter()
        yield
        give_back()
        self.timings[name] = round(self.timings.get(name, 0.0) + time.perf_counter() - start, 3)
        self.peak_memory[name] = max(self.peak_memory.get(name, 0), peak_memory())
        self.progress(f"computing {name}", 1, 1)


def give_back() -> None:
    """Lets the system have what was freed and is kept for later, as far as allocators can be told to."""
    pa.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):  # glibc's alone knows how
        ctypes.CDLL(None).malloc_trim(0)


def reset_peak() -> None:
    """Sets the process's highest resident memory to what it is now, where the kernel lets it."""
    try:
        RESET.write_text("5")
    except OSError:
        return


def peak_memory() -> int:
    """Bytes: the highest resident memory of this process since the last reset, or since its start."""
    try:
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # no /proc here
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT
