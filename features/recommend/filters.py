"""What must not be listed for whom."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from features.compute.dataset import Dataset
from features.compute.interactions import Interactions
from features.recommend.songs import ALONE, other_releases, songs


@dataclass(frozen=True, eq=False)
class Filters:
    """The contract's filters.

    Attributes:
        dataset: accounts and catalogue.
        interactions: what is known and disliked.
        same_song: whether what counts of a track counts of its song on other releases too.
    """

    dataset: Dataset
    interactions: Interactions
    same_song: bool = True

    @cached_property
    def song(self) -> np.ndarray:
        """(tracks,) int32: as of `songs`; all alone where releases are not to be told together."""
        catalog = self.dataset.catalog
        return songs(catalog) if self.same_song else np.full(len(catalog.names), ALONE, np.int32)

    @cached_property
    def known_otherwise(self) -> sp.csr_matrix:
        """(users, tracks) bool CSR: not known to the user, but on another release."""
        return other_releases(self.interactions.known, self.song)

    @cached_property
    def disliked_otherwise(self) -> sp.csr_matrix:
        """(users, tracks) bool CSR: not known to the user, who dislikes another release."""
        others = other_releases(self.interactions.disliked, self.song)
        return others.multiply(self.known_otherwise).tocsr()

    @cached_property
    def blocked(self) -> tuple[np.ndarray, np.ndarray]:
        """(countries + 1, tracks) bool, what is known not to be available there; (users,) int32, each one's row there.

        The last row, of whoever's country is not known, says nothing of any track.
        """
        markets, country = self.dataset.catalog.markets, self.dataset.country
        names = sorted({where for where in country if where is not None})
        found = np.zeros((len(names) + 1, len(markets)), bool)
        for row, name in enumerate(names):
            found[row] = [entry is not None and name not in entry for entry in markets]
        rows = {name: row for row, name in enumerate(names)}
        return found, np.array([rows.get(where, len(names)) for where in country], np.int32)

    def forbidden(self, users: np.ndarray, *, include_heard: bool) -> np.ndarray:
        """(n, tracks) bool: disliked, disallowed explicit, not in the user's market, and the already known.

        Explicit tracks are left out for users who switched them off; the market counts where both are known. Another
        release of a known track is as known, one of a disliked track as disliked, unless it is known itself.
        """
        actions, catalog = self.interactions, self.dataset.catalog
        mask: np.ndarray = actions.disliked[users].toarray()
        if include_heard:
            mask |= self.disliked_otherwise[users].toarray()
        else:
            mask |= actions.known[users].toarray()
            mask |= self.known_otherwise[users].toarray()
        mask |= ~self.dataset.explicit_allowed[users, None] & catalog.explicit[None, :]
        blocked, row = self.blocked
        mask |= blocked[row[users]]
        return mask
