"""One attribution: reads the answers of a window of time, joins them with the lists, writes what changes."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
from pydantic import SecretStr
from pymongo.database import Database

from features.attribution.join import NOWHERE, Answers, answers, credit
from features.attribution.lists import NOT_IN_LIST, lists_of, responses_of, settled
from features.attribution.reading import Columns, Tally, parts_of, read_columns
from features.attribution.scorecard import Scorecard, to_document
from features.attribution.window import Window, read_window
from features.attribution.writing import write_feedback
from features.database import Document
from features.erasure.tombstones import read_tombstones
from features.progress import Progress, silent
from features.release.ledger import find_release, update
from features.snapshot.read import id_text

GONE = "list is gone"


@dataclass(frozen=True)
class Attributed:
    """What an attribution read and did. Read = explicit + inferred + unrelated + set aside.

    Attributes:
        releases: whose lists have not expired, older before newer.
        since: when the oldest of these were made; None where there is none.
        read: responses by what they were read of: plays, feedback, acceptances (of events), chats.
        explicit: credited to the list that they name.
        inferred: credited to a list that they don't name.
        unrelated: of no recommendation.
        set_aside: those of no use, by reason.
        first: for each reason the `_id` of the first document, or the recommendation that it names, where something is
            wrong with that; none for erased persons'.
        changed: lists whose feedback was written.
    """

    releases: list[str] = field(default_factory=list)
    since: datetime | None = None
    read: dict[str, int] = field(default_factory=dict)
    explicit: int = 0
    inferred: int = 0
    unrelated: int = 0
    set_aside: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    changed: int = 0

    def in_words(self) -> str:
        """One line for a person."""
        read, aside = sum(self.read.values()), sum(self.set_aside.values())
        if not read and not self.changed:
            return "nobody has answered a list that is still served"
        return (
            f"{read:,} responses: {self.explicit:,} to the list they name, {self.inferred:,} inferred, "
            f"{self.unrelated:,} of no recommendation, {aside:,} set aside; feedback of {self.changed:,} "
            f"{'list' if self.changed == 1 else 'lists'} changed"
        )


def attribute_feedback(
    database: Database[Document],
    home: Path,
    token: int,
    now: datetime,
    hash_key: SecretStr | None = None,
    progress: Progress = silent,
) -> Attributed:
    """Fills `feedback` of all lists that have not expired, and the scorecards of their releases.

    Everything is worked out anew from what the database holds now, and what differs is written: a second run
    writes nothing, a run that was killed is finished by the next, and what was removed meanwhile counts no more.

    Args:
        database: where.
        home: `$ECHOTUNE_HOME`; releases that have no folder there are asked of the database.
        token: of the lease.
        now: until when responses count.
        hash_key: of the tombstones.
        progress: told of documents.

    Raises:
        BusyError: a newer run has taken the lease.
        InputError: somebody was erased and the key is missing or another.
        DatabaseError: the database refuses or is lost; run again to finish.
    """
    window = read_window(database, now)
    if window is None:
        return Attributed()
    erased = read_tombstones(database, hash_key)
    tally, counts = Tally(), Counter[str]()
    cards: dict[int, Scorecard] = {}
    for part in parts_of(database, window.since, now):
        columns = read_columns(database, window.since, now, part, erased, tally, progress)
        found = _joined(database, home, columns, window, now, tally, counts)
        for number, release in enumerate(window.releases):
            theirs = found.where(found.release == number)
            written = write_feedback(database, token, release, theirs, columns, part, now, progress)
            cards[number] = cards[number] + written.card if number in cards else written.card
            counts.update(explicit=written.credited[0], inferred=written.credited[1], changed=written.changed)
            tally.aside(GONE, None, written.gone)
    for number, release in enumerate(window.releases):
        scorecard = to_document(cards[number])
        if find_release(database, release).get("scorecard") != scorecard:
            update(database, release, token, {"$set": {"scorecard": scorecard}})
    return Attributed(
        list(window.releases),
        window.since,
        dict(tally.read),
        int(counts["explicit"]),
        int(counts["inferred"]),
        int(counts["unrelated"]),
        {reason: count for reason, count in tally.set_aside.most_common() if count},
        tally.first,
        int(counts["changed"]),
    )


def _joined(
    database: Database[Document],
    home: Path,
    columns: Columns,
    window: Window,
    now: datetime,
    tally: Tally,
    counts: Counter[str],
) -> Answers:
    """What became of recommended tracks; what no list is found for is counted here."""
    responses, order = responses_of(database, columns, window, now, tally)
    numbers = range(len(window.releases))
    lists = (found for number in numbers for found in lists_of(database, home, window, number, columns, responses))
    credits_ = credit(responses, lists)
    missed = credits_.place == NOWHERE
    counts["unrelated"] += int((missed & ~responses.named).sum())
    named_ids, name = list(columns.names), columns["named"][order]
    for row in np.flatnonzero(missed & responses.named & (responses.release != NOWHERE)):
        tally.aside(NOT_IN_LIST, id_text(named_ids[name[row]]))
    return answers(settled(database, responses, columns, order, credits_), credits_)
