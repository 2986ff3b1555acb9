"""Feature references: texts such as `user_profile:energy_mean`, what they stand for and the column each becomes."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from features.errors import InputError, NotFoundError
from features.schema.names import STRATEGIES

NUMBER, NUMBERS, TEXTS = pa.float64(), pa.list_(pa.float64()), pa.list_(pa.string())
ALL_DIMENSIONS = "user_profile:*"
NAMED: Mapping[str, Mapping[str, pa.DataType]] = {
    "user_profile": {"confidence": NUMBER},
    "track_embedding": {"vector": NUMBERS, "confidence": NUMBER},
    "similarity": {"neighbors": TEXTS, "scores": NUMBERS, "confidence": NUMBER},
    "recommendations": dict.fromkeys(STRATEGIES, TEXTS),
}
"""Every feature but the dimensions of a profile, which are numbers and named by the release."""


@dataclass(frozen=True)
class FeatureReference:
    """One feature of one type, as `type:name`."""

    type: str
    name: str

    def __str__(self) -> str:
        return f"{self.type}:{self.name}"

    @property
    def entity(self) -> str:
        """The column of ids that it is looked up by."""
        return "track_id" if self.type == "track_embedding" else "user_id"

    @property
    def view(self) -> str:
        """What is found or missing as one: a document of its type, or the list of its strategy."""
        return str(self) if self.type == "recommendations" else self.type

    @property
    def arrow_type(self) -> pa.DataType:
        """The type of its column."""
        return NAMED[self.type].get(self.name, NUMBER)

    @property
    def is_dimension(self) -> bool:
        """Whether it is a dimension of the profile's vector."""
        return self.name not in NAMED[self.type]


def resolve(features: Sequence[str], dimensions: Sequence[str]) -> list[FeatureReference]:
    """References from their texts, each once, in the order given; `user_profile:*` stands for all dimensions.

    Args:
        features: the texts; a single text is a list of one.
        dimensions: of the profiles that will be read.

    Raises:
        InputError: there are none.
        NotFoundError: a text names no feature; says which ones are close.
    """
    texts = [features] if isinstance(features, str) else features
    if not texts:
        raise InputError("no features are asked for; name some, such as user_profile:confidence")
    profile = {str(found): found for found in (FeatureReference("user_profile", name) for name in dimensions)}
    others = (FeatureReference(of_type, name) for of_type, named in NAMED.items() for name in named)
    known = profile | {str(found): found for found in others}
    references: dict[str, FeatureReference] = {}
    for text in texts:
        if text == ALL_DIMENSIONS:
            references |= profile
        elif text in known:
            references[text] = known[text]
        else:
            raise NotFoundError(f"unknown feature {text!r}; {_hint(str(text), known.values())}")
    return list(references.values())


def columns_of(references: Iterable[FeatureReference], taken: Iterable[str], *, full: bool) -> list[str]:
    """The name of each reference's column: its own name, or `type__name` when `full`.

    Raises:
        InputError: two would have the same, or one that is in `taken`.
    """
    columns: dict[str, str] = {name: f"the rows' own {name}" for name in taken}
    remedy = "rename the rows' column" if full else "pass full_feature_names=True"
    names = []
    for reference in references:
        name = f"{reference.type}__{reference.name}" if full else reference.name
        if name in columns:
            raise InputError(f"{columns[name]} and {reference} would both be the column {name}; {remedy}")
        columns[name] = str(reference)
        names.append(name)
    return names


def by_view(references: Iterable[FeatureReference]) -> dict[str, list[FeatureReference]]:
    """References that are read together."""
    views: dict[str, list[FeatureReference]] = {}
    for reference in references:
        views.setdefault(reference.view, []).append(reference)
    return views


def _hint(text: str, known: Iterable[FeatureReference]) -> str:
    """What a wrong text may have meant: features whose names are close to its own, of whatever type."""
    by_name: dict[str, list[str]] = {}
    for reference in known:
        by_name.setdefault(reference.name, []).append(str(reference))
    close = difflib.get_close_matches(text.rpartition(":")[2], by_name, n=3)
    if close:
        return f"close to it: {', '.join(feature for name in close for feature in by_name[name])}"
    return f"a feature is type:name, where type is one of {', '.join(NAMED)}"
