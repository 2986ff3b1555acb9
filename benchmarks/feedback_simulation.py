"""Whether lists get better when listeners answer them: twenty nights with their answers, and twenty without.

`python -m benchmarks.feedback_simulation` makes listeners with hidden tastes in a built-in database of its own. Each
night a release is built and published by the steps of `echotune nightly`; listeners play the first tracks of the list
that is served to them, and like, love, skip or dislike some. The peer is the same world, with the same own listening
and the same luck, where what they do with recommendations never reaches the database. `--plot FILE` draws both.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from pymongo import MongoClient
from pymongo.database import Database
from rich.console import Console
from rich.table import Table

from benchmarks.simulated_listeners import Answers, Document, World, answer, make_world, own_plays
from features.embedded import embedded_server
from features.parameters import NightlyParameters
from features.release.build import build_release
from features.release.ledger import hold_lease, read_pointer
from features.release.publish import publish_release
from features.release.reference import find_reference
from features.schema import names, plan
from features.snapshot.clocks import open_inputs
from features.snapshot.take import take_snapshot
from features.sources.sample import write_sample

NIGHTS, SHOWN, HISTORY_DAYS = 20, 5, 1
LENGTH = 10
"""Tracks a list where nothing but what is in the database keeps a track from coming again."""
WORTH = {"love": 1, "like": 1, "skip": -1, "dislike": -1}
SOON = 5
"""Nights after the first track of an artist in which this artist's other tracks are counted."""
PARAMETERS = NightlyParameters.model_validate(
    {
        "embeddings": {"dimensions": 12, "content_dimensions": 24},
        "similarity": {"k": 8},
        "evaluation": {"users": 0},
    }
)
"""As by default, but for what shapes no list, made small."""


@dataclass(frozen=True, eq=False)
class Night:
    """One night: what listeners made of their lists, and (n, m) bool what was in these, put before them or not."""

    answers: Answers
    listed: np.ndarray


def nights(
    database: Database[Document], home: Path, world: World, *, heard: bool, count: int = NIGHTS
) -> Iterator[Night]:
    """Lives through nights in an empty database, each a release published and answered.

    The app puts the first tracks of a list before its listener that it has not put before them yet: it remembers what
    it showed, in either run. The days lie ahead, since lists are made at the moment that they are made, and answered
    after it.

    Args:
        database: an empty one.
        home: a folder for snapshots and releases.
        world: catalogue and listeners.
        heard: whether what listeners do with recommendations reaches the database. Their own listening does.
        count: how many nights.
    """
    start = datetime.now(UTC).replace(microsecond=0)
    plan.apply(database)
    write_sample(database, world.sample, home=home, now=start)
    own = own_plays(world, HISTORY_DAYS + count, start - timedelta(days=HISTORY_DAYS, hours=-1))
    database[names.LISTENING_HISTORY].insert_many([play for day in own[:HISTORY_DAYS] for play in day])
    number = {track: place for place, track in enumerate(world.tracks)}
    shown = np.zeros(world.appeal.shape, bool)
    for night in range(count):
        moment = start + timedelta(days=night)
        release = publish_night(database, home, moment, LENGTH if heard else LENGTH + SHOWN * night)
        lists = []
        listed = np.zeros(world.appeal.shape, bool)
        for user, found in served(database, release, world.users):
            tracks = np.array([number[entry["trackId"]] for entry in found["candidates"]], int)
            listed[user, tracks] = True
            tracks = tracks[~shown[user, tracks]][:SHOWN]
            shown[user, tracks] = True
            lists.append((user, found["_id"], tracks.tolist()))
        answers = answer(world, night, moment + timedelta(hours=1, minutes=10), lists)
        database[names.LISTENING_HISTORY].insert_many(own[HISTORY_DAYS + night])
        if heard:
            database[names.LISTENING_HISTORY].insert_many(answers.plays)
            if answers.feedback:
                database[names.USER_FEEDBACK].insert_many(answers.feedback)
        yield Night(answers, listed)


def publish_night(database: Database[Document], home: Path, moment: datetime, length: int) -> str:
    """What `echotune nightly` does as of a moment, but for the gate, which has no say in lists; returns the release."""
    how = PARAMETERS.recommendations.model_copy(update={"k": length})
    parameters = PARAMETERS.model_copy(update={"recommendations": how})
    with hold_lease(database) as token:
        pointer = read_pointer(database)
        reference = find_reference(database, home, pointer.release) if pointer else None
        take_snapshot(database, home, moment)
        inputs = open_inputs(home, database.name, None)
        manifest = build_release(inputs, home, parameters, moment, reference=reference)
        publish_release(database, home, manifest.id, token)
    return manifest.id


def served(database: Database[Document], release: str, users: Sequence[Any]) -> Iterator[tuple[int, Document]]:
    """The list that each user is served, by user number: of their lists the first in the serving order."""
    found: dict[Any, list[Document]] = {}
    for document in database[names.RECOMMENDATIONS].find({"release": release}):
        found.setdefault(document["userId"], []).append(document)
    for number, user in enumerate(users):
        lists = {document["strategy"]: document for document in found.get(user, [])}
        for strategy in names.SERVING_ORDER:
            if strategy in lists:
                yield number, lists[strategy]
                break


@dataclass(frozen=True, eq=False)
class Run:
    """One world's nights, in numbers.

    Attributes:
        acceptance: (nights,) share of the tracks put before listeners that they heard to the end.
        returned: tracks in a list after its listener had said dislike.
        shown: (nights, n, m) bool: what was put before whom.
        said: (nights, n, m) int8: 1 for like or love, -1 for dislike or skip in words.
    """

    acceptance: np.ndarray
    returned: int
    shown: np.ndarray
    said: np.ndarray


def summed_up(lived: Sequence[Night]) -> Run:
    """The nights of a run in numbers."""
    shape = (len(lived), *lived[0].listed.shape)
    shown, said = np.zeros(shape, bool), np.zeros(shape, np.int8)
    disliked = np.zeros(shape[1:], bool)
    returned = 0
    for place, night in enumerate(lived):
        answers = night.answers
        returned += int((night.listed & disliked).sum())
        shown[place, answers.user, answers.track] = True
        said[place, answers.user, answers.track] = [WORTH.get(signal, 0) for signal in answers.signal]
        worst = answers.signal == "dislike"
        disliked[answers.user[worst], answers.track[worst]] = True
    return Run(np.array([night.answers.accepted.mean() for night in lived]), returned, shown, said)


def by_artist(world: World, run: Run) -> dict[int, float]:
    """Tracks of an artist put before a listener in the nights after the first of the artist's was, by what was said.

    The mean number over listeners and artists, for each sign of what was said in that first night: 1 where all words
    were likings, -1 where none was, 0 where nothing was said.

    Args:
        world: of the run.
        run: heard or not.
    """
    one = np.eye(int(world.artist.max()) + 1, dtype=np.int64)[world.artist]
    count = run.shown.astype(np.int64) @ one
    words, sum_of_words = np.abs(run.said).astype(np.int64) @ one, run.said.astype(np.int64) @ one
    first = np.argwhere((count > 0) & (count.cumsum(axis=0) == count))
    first = first[first[:, 0] + SOON < len(count)]
    after = np.array([count[night + 1 : night + 1 + SOON, user, artist].sum() for night, user, artist in first])
    where = tuple(first.T)
    return {
        sign: float(after[(sum_of_words[where] == sign * words[where]) & ((words[where] > 0) == (sign != 0))].mean())
        for sign in (1, 0, -1)
    }


def simulate(uri: str, folder: Path, world: World) -> tuple[Run, Run]:
    """Both runs of a world: with its answers and without, each in a database of its own that is dropped afterwards."""
    runs = []
    with MongoClient[Document](uri, tz_aware=True) as client:
        for heard in (True, False):
            name = f"simulation_{world.seed}_{'heard' if heard else 'unheard'}"
            runs.append(summed_up(list(nights(client[name], folder / name, world, heard=heard))))
            client.drop_database(name)
    return runs[0], runs[1]


def main() -> None:
    """Runs the simulation and prints a table by night."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--listeners", type=int, default=40)
    parser.add_argument("--tracks", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where figures go")
    parser.add_argument("--plot", type=Path, help="where a picture goes, a PNG")
    given = parser.parse_args()
    runs, artists = [], []
    with tempfile.TemporaryDirectory() as folder, embedded_server(Path(folder) / "server") as uri:
        for seed in range(1, given.seeds + 1):
            world = make_world(seed, given.listeners, given.tracks)
            heard, peer = simulate(uri, Path(folder), world)
            runs.append((heard, peer))
            artists.append([list(by_artist(world, run).values()) for run in (heard, peer)])
    acceptance = np.array([[heard.acceptance, peer.acceptance] for heard, peer in runs])
    show(acceptance, np.array(artists), [sum(run.returned for run in kind) for kind in zip(*runs, strict=True)])
    if given.json:
        given.json.write_text(json.dumps({"acceptance": acceptance.round(4).tolist()}) + "\n")
    if given.plot:
        draw(acceptance, given.plot)


def show(acceptance: np.ndarray, artists: np.ndarray, returned: Sequence[int]) -> None:
    """The table: by night (seeds, 2, nights), then by artist (seeds, 2, 3), then what came back."""
    table = Table("night", *[f"{name}{of}" for name in ("with answers", "without") for of in ("", ", from – to")])
    for night in range(acceptance.shape[2]):
        cells = [
            cell
            for values in acceptance[:, :, night].T
            for cell in (f"{values.mean():.1%}", f"{values.min():.1%} – {values.max():.1%}")
        ]
        table.add_row(str(night + 1), *cells)
    console = Console(width=120)
    console.print(table)
    for name, (liked, untold, put_off) in zip(("with answers", "without"), artists.mean(axis=0), strict=True):
        console.print(
            f"tracks of an artist in the {SOON} nights after the first one, {name}: {liked:.2f} where that was liked, "
            f"{untold:.2f} where nothing was said, {put_off:.2f} where it was skipped or disliked in words"
        )
    console.print(f"disliked tracks that came back in a list: {returned[0]} with answers, {returned[1]} without")


def draw(acceptance: np.ndarray, path: Path) -> None:
    """Two lines, means over seeds, with bands from the least to the most."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(7.5, 4.2), dpi=100, layout="constrained")
        panel = figure.subplots()
        x = np.arange(1, acceptance.shape[2] + 1)
        for row, name, colour in ((0, "with answers", "#0072B2"), (1, "without", "#E69F00")):
            values = 100 * acceptance[:, row]
            panel.fill_between(x, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.18, lw=0)
            panel.plot(x, values.mean(axis=0), color=colour, lw=2)
            panel.annotate(
                name, (x[-1], values[:, -1].mean()), (6, 0), textcoords="offset points", color=colour, va="center"
            )
        panel.set(xlabel="night", ylabel="% of tracks heard to the end", xticks=x[::2] + 1, xlim=(1, x[-1]))
        panel.set_title("What listeners accept of five new tracks a night", loc="left", fontweight="bold")
        panel.grid(axis="y", color="#e6e6e6")
        panel.set_axisbelow(True)
        figure.savefig(path)


if __name__ == "__main__":
    main()
