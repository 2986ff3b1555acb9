"""The gate: checks that a release must pass before any reader can meet it."""

from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any

import numpy as np

NORM_TOLERANCE = 1e-3
ROUNDING = 1e-9
MOST_NAMED = 5
UNBOUNDED = ("plays_per_day", "loudness", "tempo", "time_signature")
"""What a profile tells in counts, decibels and beats."""


@dataclass(frozen=True)
class Check:
    """One check: what was looked at, whether it held, and the figure behind the verdict.

    `against` says what the release was held against: "recent nights", "live release" or the settings' "limits". It
    is empty for a check made of the release alone, which holds or not whatever else there is.
    """

    name: str
    passed: bool
    detail: str
    against: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For manifests and documents."""
        return asdict(self)


def verdict(checks: Sequence[Check]) -> str:
    """One line: all passed, or the first that did not."""
    failed = [check for check in checks if not check.passed]
    if not failed:
        return f"{len(checks)} checks passed"
    return f"{len(failed)} of {len(checks)} checks failed, first: {failed[0].name} ({failed[0].detail})"


def check_profiles(vectors: np.ndarray, confidence: np.ndarray, expected: int) -> list[Check]:
    """Profiles: (n, dimensions) with NaN for undefined, (n,) confidence, and how many users played anything."""
    infinite = int(np.isinf(vectors).sum())
    undefined = int(np.isnan(vectors).all(axis=1).sum()) if vectors.size else 0
    return [
        Check(
            "a profile for everyone who played",
            len(vectors) == expected,
            f"{len(vectors):,} of {expected:,}",
        ),
        Check("profiles are finite", infinite == 0, f"{infinite:,} infinite values"),
        Check("no profile is all undefined", undefined == 0, f"{undefined:,} profiles"),
        _within("profile confidence in 0..1", confidence),
    ]


def _outside(values: np.ndarray) -> bool:
    return bool(((values < -ROUNDING) | (values > 1.0 + ROUNDING)).any())


def check_ranges(dimensions: Sequence[str], vectors: np.ndarray) -> Check:
    """Profiles: all but what is told in counts, decibels and beats is a share, a rate or a mean of such: 0 to 1.

    Args:
        dimensions: (d,) names of the columns.
        vectors: (n, d) float, NaN where undefined.
    """
    bounded = [number for number, name in enumerate(dimensions) if not name.startswith(UNBOUNDED)]
    culprits = [dimensions[number] for number in bounded if _outside(vectors[:, number])]
    named = f": {', '.join(culprits[:MOST_NAMED])}" if culprits else ""
    return Check("shares and rates lie in 0..1", not culprits, f"{len(culprits)} of {len(bounded)} do not{named}")


def check_embeddings(vectors: np.ndarray, confidence: np.ndarray) -> list[Check]:
    """Embeddings: (n, dimensions) of unit length, but for tracks nothing is known of, which are zero."""
    finite = bool(np.isfinite(vectors).all())
    norms = np.linalg.norm(vectors, axis=1)
    off = int(((np.abs(norms - 1.0) > NORM_TOLERANCE) & (norms > 0)).sum())
    return [
        Check("embeddings are finite", finite, f"{len(vectors):,} vectors"),
        Check("embeddings have unit length", off == 0, f"{off:,} do not"),
        _within("embedding confidence in 0..1", confidence),
    ]


def check_similarity(neighbors: np.ndarray, common: np.ndarray, scores: np.ndarray, minimum: int) -> list[Check]:
    """Similar users: (users, k) numbers with -1 for empty, tracks in common, scores best first."""
    filled = neighbors >= 0
    own = int((neighbors == np.arange(len(neighbors))[:, None]).sum())
    few = int((filled & (common < minimum)).sum())
    rising = int((np.diff(scores, axis=1) > 0).sum()) if scores.shape[1] > 1 else 0
    return [
        Check("nobody is their own neighbour", own == 0, f"{own:,} are"),
        Check(f"neighbours share at least {minimum} tracks", few == 0, f"{few:,} share fewer"),
        Check("neighbours stand best first", rising == 0, f"{rising:,} out of order"),
    ]


@dataclass(frozen=True)
class ListFaults:
    """What is wrong with some lists; of more lists together it is the sum.

    Attributes:
        lists: how many there are.
        outside: scores that are not in 0..1.
        rising: scores above the one before.
        bare: tracks without a reason.
        forbidden: tracks that their user must not be shown.
    """

    lists: int = 0
    outside: int = 0
    rising: int = 0
    bare: int = 0
    forbidden: int = 0

    def __add__(self, other: "ListFaults") -> "ListFaults":
        return ListFaults(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))


def faults_of(size: np.ndarray, scores: np.ndarray, explained: np.ndarray, forbidden: int = 0) -> ListFaults:
    """What is wrong with some lists.

    Args:
        size: (l,) int, entries of each list.
        scores: (m,) float, of the entries of all lists, one list behind the other.
        explained: (m,) bool, whether there is a reason.
        forbidden: recommended tracks that their user must not be shown.
    """
    within = np.ones(len(scores), bool)
    within[np.cumsum(size)[:-1]] = False  # where a list begins nothing rises
    return ListFaults(
        len(size),
        int((~((scores >= 0) & (scores <= 1))).sum()),
        int((within[1:] & (np.diff(scores) > 0)).sum()),
        int((~explained).sum()),
        forbidden,
    )


def check_lists(faults: ListFaults, expected: int) -> list[Check]:
    """Recommendation lists.

    Args:
        faults: of all of them.
        expected: users with taste and something left to hear; where there are any, there must be lists.
    """
    return [
        Check("there are lists where there is taste", faults.lists > 0 or expected == 0, f"{faults.lists:,} lists"),
        Check("scores lie in 0..1", faults.outside == 0, f"{faults.outside:,} outside"),
        Check("scores do not rise with rank", faults.rising == 0, f"{faults.rising:,} do"),
        Check("every track has a reason", faults.bare == 0, f"{faults.bare:,} without"),
        Check("no forbidden track is recommended", faults.forbidden == 0, f"{faults.forbidden:,} are"),
    ]


def _within(name: str, values: np.ndarray) -> Check:
    outside = int((~((values >= 0.0) & (values <= 1.0))).sum())
    return Check(name, outside == 0, f"{outside:,} outside")
