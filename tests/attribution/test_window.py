"""Which release was live at which moment."""

from datetime import timedelta

import numpy as np
from handmade import FIRST, NOW, SECOND, THIRD, World, hours_ago

from features.attribution.join import NOWHERE
from features.attribution.window import Window, read_window
from features.dates import epoch_ms
from features.release.ledger import hold_lease
from features.release.publish import rollback
from features.schema.names import RELEASES

LISTS = {("ann", "hybrid"): ["t1"]}


def live_at(window: Window, *hours: float) -> list[str | None]:
    numbers = window.live_at(np.array([epoch_ms(hours_ago(moment)) for moment in hours]))
    return [None if number == NOWHERE else window.releases[number] for number in numbers]


def test_a_release_is_live_from_its_switch_to_the_next_ones(world):
    world.publish(SECOND, LISTS, built=24, live=23)
    window = read_window(world.db, NOW)
    assert (window.releases, window.since) == ((FIRST, SECOND), hours_ago(48))
    assert live_at(window, 60, 47.5, 47, 23.5, 23, 0) == [None, None, FIRST, FIRST, SECOND, SECOND]


def test_a_switch_notes_its_moment_once_and_a_rollback_another(world):
    world.publish(SECOND, LISTS, built=24, live=23)
    with hold_lease(world.db) as token:
        rollback(world.db, token)
    moments = world.db[RELEASES].find_one({"_id": FIRST})["liveFrom"]
    pointer = world.db[RELEASES].find_one({"_id": "live"})
    assert moments == [hours_ago(47), pointer["changedAt"]]
    window = read_window(world.db, NOW)
    assert window.releases == (FIRST,)
    later = epoch_ms(pointer["changedAt"]) + 1
    assert [live_at(window, 30), live_at(window, 20)] == [[FIRST], [None]]  # the withdrawn one was live then
    assert window.live_at(np.array([later])).tolist() == [0]


def test_no_list_is_answered_before_it_was_made_whatever_the_clocks_of_two_machines_say(world):
    world.note(FIRST, {"$set": {"liveFrom": [hours_ago(49)]}})
    assert live_at(read_window(world.db, NOW), 48.5, 48) == [None, FIRST]


def test_a_release_whose_lists_are_gone_still_covers_its_time(world):
    world.publish(SECOND, LISTS, built=24, live=23)
    world.publish(THIRD, LISTS, built=3, live=2)
    world.note(SECOND, {"$set": {"expired": True}})
    window = read_window(world.db, NOW)
    assert window.releases == (FIRST, THIRD)
    assert live_at(window, 30, 20, 1) == [FIRST, None, THIRD]


def test_a_switch_that_was_killed_before_it_was_noted_is_known_by_the_pointer(world):
    world.publish(SECOND, LISTS, built=24, live=23)
    world.note(SECOND, {"$unset": {"liveFrom": ""}, "$set": {"state": "uploading"}})
    assert live_at(read_window(world.db, NOW), 30, 23.5, 22) == [FIRST, FIRST, SECOND]


def test_a_live_release_that_is_being_written_again_is_looked_at(world):
    world.note(FIRST, {"$set": {"state": "uploading", "expired": True, "ledger": {}}})
    assert read_window(world.db, NOW).releases == (FIRST,)


def test_a_release_that_was_never_live_is_not(world):
    world.db[RELEASES].update_one({"_id": FIRST}, {"$set": {"state": "built"}, "$unset": {"liveFrom": ""}})
    world.db[RELEASES].update_one({"_id": "live"}, {"$set": {"release": None, "previous": None}})
    assert read_window(world.db, NOW) is None


def test_lists_that_have_had_their_life_are_not_looked_at(world):
    assert read_window(world.db, hours_ago(48) + timedelta(days=30)) is None
    assert read_window(world.db, hours_ago(48) + timedelta(days=30) - timedelta(seconds=1)) is not None


def test_an_empty_database_has_no_window(empty: World):
    assert read_window(empty.db, NOW) is None
