"""What there is to be run: each benchmark at each size, and how the module that measures it is called."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """A benchmark at a size, by `NAME-SIZE`, which is also what its figures are kept as.

    Attributes:
        name: of the benchmark.
        size: XS and S are the quick ones.
        module: under `benchmarks`.
        arguments: its words; `{folder}` is where events and nights are kept.
        asked: it is run only when it is asked for by name: hours, or wants much memory or disk.
    """

    name: str
    size: str
    module: str
    arguments: tuple[str, ...]
    asked: bool = False

    @property
    def key(self) -> str:
        """What it is called and kept as."""
        return f"{self.name}-{self.size}"

    @property
    def quick(self) -> bool:
        """Whether it is of those that take less than five minutes together."""
        return self.size in ("XS", "S")

    def words(self, folder: Path) -> list[str]:
        """Module and arguments for a Python."""
        return [f"benchmarks.{self.module}", *(word.format(folder=folder) for word in self.arguments)]


ENTRIES = (
    *(Entry("pairs", size, "kernels_pairs", (size, "--folder", "{folder}")) for size in "SM"),
    *(Entry("overlaps", size, "kernels_overlaps", (size, "--folder", "{folder}")) for size in "SML"),
    *(Entry("top_n", size, "kernels_top_n", (size,)) for size in "SM"),
    *(Entry("factors", size, "kernels_factors", (size, "--folder", "{folder}")) for size in "SM"),
    Entry("read", "S", "mongo_read", ("--quick",)),
    Entry("read", "M", "mongo_read", ()),
    Entry("write", "S", "mongo_write", ("--quick", "profiles", "lists")),
    Entry("write", "M", "mongo_write", ("profiles", "lists")),
    Entry("feast", "S", "mongo_write", ("--quick", "feast")),
    Entry("feast", "M", "mongo_write", ("feast",)),
    Entry("nights", "S", "second_night", ("--quick",)),
    Entry("nights", "M", "second_night", ()),
    Entry("whole_night", "XS", "big_night", ("XS", "--folder", "{folder}/night-XS")),
    Entry("whole_night", "S", "big_night", ("S", "--folder", "{folder}/night-S"), asked=True),
    Entry("whole_night", "M", "big_night", ("M", "--folder", "{folder}/night-M")),
    Entry("whole_night", "L", "big_night", ("L", "--folder", "{folder}/night-L"), asked=True),
    Entry("publish", "XS", "publish_parts", ("XS", "--folder", "{folder}")),
    Entry("publish", "S", "publish_parts", ("S", "--folder", "{folder}"), asked=True),
    Entry("publish", "M", "publish_parts", ("M", "--folder", "{folder}")),
    Entry("publish", "L", "publish_parts", ("L", "--folder", "{folder}"), asked=True),
    Entry("growth", "S", "growth", ("--quick", "--folder", "{folder}")),
    Entry("growth", "M", "growth", ("M", "--folder", "{folder}")),
    Entry("growth", "L", "growth", ("ML", "--folder", "{folder}"), asked=True),
)
NAMES = tuple(dict.fromkeys(entry.name for entry in ENTRIES))


def chosen(names: list[str], *, quick: bool) -> list[Entry]:
    """What is to be run: benchmarks by name, or some by name and size; all by default.

    Args:
        names: such as `overlaps` or `overlaps-L`; a name with a size is run whatever else is said.
        quick: the small sizes of the others, else the large ones.

    Raises:
        ValueError: there is no such benchmark.
    """
    for name in names:
        if name not in NAMES and all(entry.key != name for entry in ENTRIES):
            raise ValueError(f"no benchmark {name!r}; there are {', '.join(NAMES)}, and sizes such as overlaps-L")
    wanted = [entry for entry in ENTRIES if entry.key in names]
    by_name = names or list(NAMES)
    wanted += [
        entry
        for entry in ENTRIES
        if entry.name in by_name and entry.quick is quick and not entry.asked and entry not in wanted
    ]
    return [entry for entry in ENTRIES if entry in wanted]
