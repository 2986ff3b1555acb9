"""Who looks on while a night is disturbed: a reader that must see whole releases only, and a writer of the app's."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from random import Random
from typing import Any

import bson
from bson import ObjectId
from pymongo import WriteConcern
from pymongo.database import Database
from pymongo.errors import PyMongoError

from features.errors import DatabaseError, NotFoundError
from features.release.documents import OUTPUTS
from features.release.store import FeatureStore
from features.schema.names import FEATURE_STORE, LISTENING_HISTORY, RECOMMENDATIONS, STRATEGIES

MEASURED = frozenset(
    {"createdAt", "computedAt", "lastTrained", "expiresAt", "generationTime", "generatedAt", "processingTime"}
)
"""What two runs of the same release may differ in."""


def without_measured(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_measured(content) for name, content in value.items() if name not in MEASURED}
    return [without_measured(entry) for entry in value] if isinstance(value, list) else value


def fingerprint(document: Mapping[str, Any]) -> bytes:
    """A document without what was measured."""
    return bson.encode(without_measured(dict(document)))


def as_built(document: Mapping[str, Any]) -> bytes:
    """A document without what was measured and without what listeners answered, which is filled in while they read."""
    return fingerprint({name: content for name, content in document.items() if name != "feedback"})


def query_of(output: str, release: str) -> dict[str, str]:
    if output == "recommendations":
        return {"release": release}
    return {"featureType": output, "features.version": release}


def documents_of(
    database: Database[Any], release: str, reduced: Callable[[Mapping[str, Any]], bytes] = fingerprint
) -> dict[str, dict[ObjectId, bytes]]:
    """All documents of a release, without what was measured, by output and `_id`."""
    return {
        output: {document["_id"]: reduced(document) for document in database[name].find(query_of(output, release))}
        for output, name in OUTPUTS.items()
    }


def answers(store: FeatureStore, user: Any) -> str:
    """What an application is told of a user."""
    said: list[Any] = [store.profile(user), store.similar_users(user)]
    for strategy in STRATEGIES:
        try:
            said.append(store.recommendations(user, strategy))
        except NotFoundError:
            said.append(None)
    return json.dumps(said, default=str)


class _Watcher(threading.Thread):
    """Looks again and again until it is told to stop; waits while the server is down; notes what is wrong."""

    def __init__(self, pause_s: float) -> None:
        super().__init__(daemon=True)
        self.problems: list[str] = []
        self.looks = 0
        self._pause_s = pause_s
        self._stop_now = threading.Event()

    def run(self) -> None:
        while not self._stop_now.is_set():
            try:
                self.look()
                self.looks += 1
            except (PyMongoError, DatabaseError):
                time.sleep(0.1)  # the server is down
            except Exception as error:  # noqa: BLE001 - whatever a reader meets is the finding
                self.problems.append(f"{type(error).__name__}: {error}")
            self._stop_now.wait(self._pause_s)

    def stop(self) -> None:
        self._stop_now.set()
        self.join(60)

    def look(self) -> None:
        raise NotImplementedError


class Reader(_Watcher):
    """Polls as an application does, and as an older client that doesn't know the pointer.

    Args:
        database: straight to the server, past any proxy.
        said: for each release in the order in which they may be met, what each user is told.
        documents: for each release, its documents by `_id`, as built.
    """

    def __init__(
        self,
        database: Database[Any],
        said: Mapping[str, Mapping[Any, str]],
        documents: Mapping[str, Mapping[str, Mapping[ObjectId, bytes]]],
        seed: int,
    ) -> None:
        super().__init__(0.05)
        self._database = database
        self._said = said
        self._order = list(said)
        self._documents = documents
        self._random = Random(seed)
        self.seen: list[str] = []

    def look(self) -> None:
        store = FeatureStore(self._database)
        release = store.release
        if release not in self._order:
            self._wrong(f"release {release} is live, which is none of the two")
            return
        if not self.seen or self.seen[-1] != release:
            if release in self.seen:
                self._wrong(f"release {release} is live again after {self.seen[-1]}")
            self.seen.append(release)
        users = self._said[release]
        for user in self._random.sample(list(users), 2):
            if answers(store, user) != users[user]:
                self._wrong(f"release {release} says something else of {user} than it should")
            self._look_without_pointer(user)
        for output, name in OUTPUTS.items():
            count, whole = (
                self._database[name].count_documents(query_of(output, release)),
                len(self._documents[release][output]),
            )
            if count != whole:
                self._wrong(f"release {release} has {count} of {whole} {output} documents")

    def _look_without_pointer(self, user: Any) -> None:
        for output in ("user_profile", "similarity"):
            query = {"userId": user, "featureType": output}
            found = next(self._database[FEATURE_STORE].find(query).sort("computedAt", -1).limit(1), None)
            self._compare(output, found, found and found["features"]["version"])
        found = next(self._database[RECOMMENDATIONS].find({"userId": user}).sort("createdAt", -1).limit(1), None)
        self._compare("recommendations", found, found and found["release"])

    def _compare(self, output: str, found: Any, release: Any) -> None:
        if found is None:
            self._wrong(f"a client without the pointer finds no {output}")
        elif self._documents.get(release, {}).get(output, {}).get(found["_id"]) != as_built(found):
            self._wrong(f"a client without the pointer reads {output} of {release} that is not as it was built")

    def _wrong(self, what: str) -> None:
        if what not in self.problems:
            self.problems.append(what)


class Writer(_Watcher):
    """The app, which goes on writing plays; `acknowledged` are those the server said it has.

    They are imported after the night's bound, so that they don't belong to it.
    """

    def __init__(self, database: Database[Any], imported_at: datetime) -> None:
        super().__init__(0.1)
        self._plays = database.get_collection(LISTENING_HISTORY, write_concern=WriteConcern("majority", j=True))
        self._imported_at = imported_at
        self.acknowledged: list[ObjectId] = []

    def look(self) -> None:
        play = {"userId": "the-writer", "trackId": "t", "playedAt": self._imported_at, "importedAt": self._imported_at}
        self.acknowledged.append(self._plays.insert_one(play).inserted_id)

    def missing(self) -> int:
        """How many of the acknowledged plays are not there."""
        found = self._plays.count_documents({"userId": "the-writer", "_id": {"$in": self.acknowledged}})
        return len(set(self.acknowledged)) - found


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether something comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
