"""What attribution writes: the feedback of lists, those that change, under the lease."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
from pymongo import UpdateOne
from pymongo.database import Database

from features.attribution.join import Answers, overall_rating
from features.attribution.reading import Columns, Part
from features.attribution.scorecard import Scorecard, score
from features.database import Document, translated_errors
from features.progress import Progress, silent
from features.release.documents import EMPTY_FEEDBACK
from features.release.ledger import under_lease
from features.schema.ids import encode_id
from features.schema.names import RECOMMENDATIONS, SERVING_ORDER

WRITE_BATCH = 200
"""Lists of one write, which is to take a second or so."""
PROGRESS_STEP = 1_000


@dataclass(frozen=True, eq=False)
class Written:
    """What was made of one release's answers.

    Attributes:
        card: the scorecard of the lists that are there.
        credited: (2,) responses, explicit and inferred, to lists that are there.
        gone: responses to lists that are not.
        changed: lists whose feedback was written.
    """

    card: Scorecard
    credited: np.ndarray
    gone: int
    changed: int


def write_feedback(
    database: Database[Document],
    token: int,
    release: str,
    found: Answers,
    columns: Columns,
    part: Part,
    now: datetime,
    progress: Progress = silent,
) -> Written:
    """Goes through a release's lists and makes the feedback of each what was found, where it is something else.

    Args:
        database: where.
        token: of the lease.
        release: whose lists.
        found: the answers to its lists, of the users in `part`.
        columns: the ids behind their numbers.
        part: the users whose lists are looked at.
        now: lists that expired by then are left alone.
        progress: told of lists.

    Raises:
        BusyError: a newer run has taken the lease.
        DatabaseError: the database refuses or is lost.
    """
    starts = found.list_starts.tolist()
    bounds = pairwise([*starts, len(found)])
    answered = {(int(found.user[start]), int(found.place[start])): slice(start, end) for start, end in bounds}
    tracks = list(columns.tracks)
    there = np.zeros(len(found), bool)
    lengths: list[Counter[int]] = [Counter() for _ in SERVING_ORDER]
    changed, updates = 0, list[UpdateOne]()
    fields = dict.fromkeys(("userId", "strategy", "feedback", "performance", "expiresAt"), 1)
    with translated_errors():
        for number, document in enumerate(database[RECOMMENDATIONS].find({"release": release}, fields), start=1):
            if number % PROGRESS_STEP == 0:
                progress(f"attributing to {release}", number, None)
            user = encode_id(document["userId"])
            if not part.holds(user) or document["expiresAt"] <= now:
                continue
            place = SERVING_ORDER.index(document["strategy"])
            lengths[place][int(document["performance"]["candidateCount"])] += 1
            rows = answered.get((columns.users.get(user, -1), place), slice(0))
            there[rows] = True
            wanted = feedback_of(found, rows, tracks)
            if (document.get("feedback") or EMPTY_FEEDBACK) != wanted:
                updates.append(UpdateOne({"_id": document["_id"]}, {"$set": {"feedback": wanted}}))
            if len(updates) == WRITE_BATCH:
                changed += _write(database, token, updates)
                updates.clear()
        changed += _write(database, token, updates)
    kept = found.where(there)
    gone = int(found.responses[~there].sum())
    return Written(score(lengths, kept), kept.responses.sum(axis=0), gone, changed)


def feedback_of(found: Answers, rows: slice, tracks: Sequence[str]) -> dict[str, Any]:
    """The feedback of one list by what became of its tracks, in the order of their ranks; empty for no rows."""
    if not len(found.track[rows]):
        return EMPTY_FEEDBACK

    def named(mask: np.ndarray) -> list[str]:
        return [tracks[track] for track in found.track[rows][mask[rows]]]

    return {
        "tracksPlayed": named(found.played),
        "tracksLiked": named(found.liked),
        "tracksSkipped": named(found.skipped),
        "overallRating": overall_rating(found.stars[rows]),
    }


def _write(database: Database[Document], token: int, updates: Sequence[UpdateOne]) -> int:
    if not updates:
        return 0
    with under_lease(database, token):
        return int(database[RECOMMENDATIONS].bulk_write(list(updates), ordered=False).matched_count)
