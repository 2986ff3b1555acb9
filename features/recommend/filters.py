"""What must not be listed for whom."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from features.compute.dataset import Dataset
from features.compute.interactions import Interactions


@dataclass(frozen=True, eq=False)
class Filters:
    """The contract's filters.

    Attributes:
        dataset: accounts and catalogue.
        interactions: what is known and disliked.
    """

    dataset: Dataset
    interactions: Interactions

    @cached_property
    def market_blocked(self) -> dict[str, np.ndarray]:
        """For each country some user lives in, (tracks,) bool: known not to be available there."""
        markets = self.dataset.catalog.markets
        return {
            country: np.array([entry is not None and country not in entry for entry in markets], bool)
            for country in {where for where in self.dataset.country if where is not None}
        }

    def forbidden(self, users: np.ndarray, *, include_heard: bool) -> np.ndarray:
        """(n, tracks) bool: disliked, disallowed explicit, not in the user's market, and the already known.

        Explicit tracks are left out for users who switched them off; the market counts where both are known.
        """
        actions, catalog = self.interactions, self.dataset.catalog
        mask: np.ndarray = actions.disliked[users].toarray()
        if not include_heard:
            mask |= actions.known[users].toarray()
        mask |= ~self.dataset.explicit_allowed[users, None] & catalog.explicit[None, :]
        for row, user in enumerate(users):
            country = self.dataset.country[user]
            if country is not None:
                mask[row] |= self.market_blocked[country]
        return mask
