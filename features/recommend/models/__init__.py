"""The models, by name."""

from collections.abc import Mapping
from types import MappingProxyType

from features.recommend.models.content import Content, Kernel
from features.recommend.models.contract import Model
from features.recommend.models.factors import IALS, ScaledSVD, SideIALS
from features.recommend.models.linear import Cease, Ease, LocalEase, ProximityEase
from features.recommend.models.linear_users import UserEase
from features.recommend.models.neighbors import ItemKNN, UserKNN
from features.recommend.models.personal import Personal
from features.recommend.models.popular import Late, Popular
from features.recommend.models.proximity import ProximityKNN

MODELS: Mapping[str, type[Model]] = MappingProxyType(
    {
        "popular": Popular,
        "late": Late,
        "item_knn": ItemKNN,
        "user_knn": UserKNN,
        "svd": ScaledSVD,
        "ials": IALS,
        "ease": Ease,
        "local_ease": LocalEase,
        "user_ease": UserEase,
        "proximity": ProximityKNN,
        "proximity_ease": ProximityEase,
        "cease": Cease,
        "side_ials": SideIALS,
        "content": Content,
        "kernel": Kernel,
        "personal": Personal,
    }
)

CONTENT_MODELS = frozenset({"content", "cease", "side_ials", "kernel"})
"""Models that know tracks which nobody has heard, by what they are."""
EVERYONE = frozenset({"popular", "late"})
"""Models that say the same to everyone: a blend may lean on them, but they put no track forward."""
