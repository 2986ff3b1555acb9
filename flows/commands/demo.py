"""`echotune demo`: the main job on a sample, and its result shown. What `make demo` runs."""

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from features.database import open_database
from features.schema.names import LISTENING_HISTORY
from features.settings import get_settings
from flows.commands.importing import make_and_write_sample, show_totals
from flows.commands.nightly import publish_release
from flows.commands.reading import show_recommendations
from flows.console import say, text_of
from flows.words import profile_in_words

if TYPE_CHECKING:
    from features.release.store import FeatureStore

LISTENERS = 3


def demo() -> None:
    """Make a sample in the built-in database, run the nightly job, and show three listeners."""
    from features.release.store import FeatureStore

    os.environ["MONGODB_URI"] = ""  # whatever .env says: synthetic listeners have no place in a real database
    get_settings.cache_clear()
    with open_database(get_settings()) as database:  # one server for all the steps
        say(f"1. A sample of synthetic listeners into the built-in database, `{database.name}`")
        if database[LISTENING_HISTORY].find_one({}, {"_id": 1}) is None:
            today = datetime.now(UTC).date().isoformat()
            show_totals(make_and_write_sample(users=200, tracks=1200, days=90, seed=7, end=today), as_json=False)
        else:
            say("   there are plays already, they are used as they are")
        say("2. The nightly job")
        publish_release(gate=True, pairs=[])
        store = FeatureStore(database)
        say("")
        say(f"3. Three listeners of release {store.release}")
        for user in _listeners(store):
            _show(store, user)
        say("")
        say("What to try next (in .venv/bin):")
        for line in _next_steps(store):
            say(f"  {line}")
        say("")
        say(f"release {store.release} live")


def _listeners(store: "FeatureStore") -> list[str]:
    """The most certain profile, one in the middle, and one of those with an ObjectId if there is any."""
    table = store.table("user_profile").select(["user_id", "confidence"]).sort_by([("confidence", "descending")])
    users: list[str] = table["user_id"].to_pylist()
    chosen = [users[0], users[len(users) // 2], *(user for user in users if user.startswith("oid:")), *users]
    return list(dict.fromkeys(chosen))[:LISTENERS]


def _show(store: "FeatureStore", user: str) -> None:
    say("")
    say(f"{user}, confidence {store.profile_confidence(user):.2f}")
    for line in profile_in_words(store.profile(user)):
        say(f"  {line}")
    neighbors: list[dict[str, Any]] = store.similar_users(user, 3)
    near = ", ".join(f"{text_of(n['user_id'])} ({n['common_tracks']} tracks in common)" for n in neighbors)
    say(f"  Similar listeners: {near or 'nobody shares five tracks'}")
    show_recommendations(store.recommendations(user, k=5))


def _next_steps(store: "FeatureStore") -> list[str]:
    user = _listeners(store)[0]
    track = store.recommendations(user, k=1)["candidates"][0]["track_id"]
    return [
        f"echotune profile {user}",
        f"echotune similar-tracks {track}",
        f"echotune recommend {user} --strategy content-based -k 20 --json",
        "echotune releases list",
        "echotune import plays FILE --map their_column=played_at",
        "open notebooks/01_look_at_a_release.ipynb",
    ]
