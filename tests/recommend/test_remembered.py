"""What is made of a catalogue is made once, and gone with it."""

import gc
import weakref

from worlds import AS_OF, random_world

from features.compute.dataset import Catalog, build_dataset
from features.recommend.remembered import remembered


def test_it_is_made_once_for_each_catalogue_and_gone_with_it():
    made = []

    class Names(list):  # a list itself can't be watched
        pass

    @remembered
    def names(catalog: Catalog) -> Names:
        """All of them."""
        made.append(catalog.names)
        return Names(catalog.names)

    one, other = (build_dataset(random_world(seed), as_of_ms=AS_OF).catalog for seed in (1, 2))
    assert names(one) is names(one)
    assert list(names(other)) == list(other.names)
    assert len(made) == 2
    assert names.__doc__ == "All of them."
    kept = weakref.ref(names(one))
    del one
    gc.collect()
    assert kept() is None
