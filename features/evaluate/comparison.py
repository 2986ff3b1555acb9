"""A release in context: checks against recent nights, the live release and the limits of the settings.

What can't be compared, for want of nights, rows or figures, holds and says so: a new database must get its first
releases. A check that fails names what failed, with the figures of both sides and the limit.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from features.evaluate.drift import MUCH, DimensionDrift, profile_drift
from features.evaluate.gate import MOST_NAMED, ROUNDING, Check
from features.parameters import GateParameters

NIGHTS, LIVE, LIMITS = "recent nights", "live release", "limits"
LIVELY = 0.05
"""A dimension is alive when at least this share of users differs from the middle; hours of the night are rare."""
MISSING = ("without_completion", "without_audio", "without_artist", "without_genre", "embeddings_empty")
"""Measures that are shares of what lacks something."""

Figures = Mapping[str, float]
Counts = Mapping[str, tuple[int, int]]
"""By table: documents set aside, and documents read."""


def check_volume(used: Figures, recent: Sequence[Figures], how: GateParameters) -> Check:
    """Rows used of each input table; a table with few rows is not compared."""
    entries = []
    for table, now in used.items():
        usual = _usual([night.get(table, np.nan) for night in recent], how)
        if usual >= how.min_rows:
            entries.append((now >= how.min_volume_ratio * usual, f"{table} {now:,.0f} of {usual:,.0f}"))
    limit = f"at least {how.min_volume_ratio:.0%} of the median"
    return _check("no input has shrunk", NIGHTS, entries, limit)


def check_recent_plays(measures: Figures, recent: Sequence[Figures], how: GateParameters) -> list[Check]:
    """Plays of the last day and of the last week, as `measures` counts them, where a usual week has enough."""
    busy = _usual([night.get("plays_last_week", np.nan) for night in recent], how) >= how.min_rows
    checks = []
    for period, ratio in (("day", how.min_day_ratio), ("week", how.min_volume_ratio)):
        name = f"plays_last_{period}"
        now, usual = measures.get(name, np.nan), _usual([night.get(name, np.nan) for night in recent], how)
        entries = [(now >= ratio * usual, f"{now:,.0f} of {usual:,.0f}")] if busy and not np.isnan(now) else []
        limit = f"at least {ratio:.0%} of the median"
        checks.append(_check(f"the last {period} has its plays", NIGHTS, entries, limit))
    return checks


def check_set_aside(counts: Counts, recent: Sequence[Counts], how: GateParameters) -> list[Check]:
    """Shares of documents that could not be used: by themselves, and against recent nights'."""
    alone, compared = [], []
    for table, (aside, read) in counts.items():
        if read < how.min_rows:
            continue
        share = aside / read
        alone.append((share <= how.max_set_aside, f"{table} {share:.2%}"))
        usual = _usual([_share(night.get(table, (0, 0)), how.min_rows) for night in recent], how)
        if not np.isnan(usual):
            most = max(how.max_set_aside_growth * usual, how.min_set_aside)
            compared.append((share <= most, f"{table} {share:.2%}, usually {usual:.2%}"))
    growth = f"at most {how.max_set_aside_growth:g} times the median, or {how.min_set_aside:.2%}"
    return [
        _check("few documents are set aside", LIMITS, alone, f"at most {how.max_set_aside:.0%}"),
        _check("no more documents are set aside than usual", NIGHTS, compared, growth),
    ]


def check_missing(measures: Figures, recent: Sequence[Figures], how: GateParameters) -> Check:
    """Shares of the last week's plays that lack something, and of tracks without an embedding."""
    entries = []
    for name in MISSING:
        now, usual = measures.get(name, np.nan), _usual([_enough(night, name, how) for night in recent], how)
        if not np.isnan(_enough(measures, name, how) + usual):
            entries.append((now <= usual + how.max_missing_rise, f"{name} {now:.1%}, usually {usual:.1%}"))
    limit = f"at most {100 * how.max_missing_rise:g} points above the median"
    return _check("no more is missing than usual", NIGHTS, entries, limit)


def check_counts(counts: Figures, live: Figures, how: GateParameters) -> Check:
    """Documents of each output. Few can become many, so growth is judged from `min_rows` documents on."""
    entries = []
    for output, now in counts.items():
        before = live.get(output, 0)
        if before >= how.min_entities:
            most = how.max_count_ratio * before if before >= how.min_rows else np.inf
            entries.append((how.min_count_ratio * before <= now <= most, f"{output} {now:,.0f}, live {before:,.0f}"))
    limit = f"{how.min_count_ratio:g} to {how.max_count_ratio:g} times the live ones"
    return _check("about as many documents as before", LIVE, entries, limit)


def check_active(measures: Figures, how: GateParameters) -> Check:
    """Whether those who listened within the last 30 days have a profile and lists."""
    active = measures.get("active_users", 0.0)
    entries = []
    if active >= how.min_entities:
        for name in ("active_with_profile", "active_with_lists"):
            served = measures[name]
            entries.append((served >= how.min_active_coverage * active, f"{name} {served:,.0f} of {active:,.0f}"))
    return _check("active listeners are served", LIMITS, entries, f"at least {how.min_active_coverage:.0%}")


def check_profiles_against(
    names: Sequence[str],
    vectors: np.ndarray,
    live_names: Sequence[str],
    live_vectors: np.ndarray,
    how: GateParameters,
) -> list[Check]:
    """Dimensions of profiles that say nothing any more, and how far the others have drifted.

    One that said next to nothing before is left out: the first Tuesday of a history is no drift.

    Args:
        names: (d,) names of the columns.
        vectors: (n, d) float, NaN where undefined.
        live_names: (e,) likewise, of the live release.
        live_vectors: (m, e) likewise.
        how: the limits.
    """
    many = min(len(vectors), len(live_vectors)) >= how.min_entities
    alive = [column for column in range(len(live_names)) if many and _is_lively(live_vectors[:, column])]
    drifts = profile_drift([live_names[column] for column in alive], live_vectors[:, alive], names, vectors)
    column_of = {name: column for column, name in enumerate(names)}
    dead = [drift.name for drift in drifts if _is_dead(vectors[:, column_of[drift.name]])]
    compared = [(True, f"{len(drifts)} compared")] if drifts else []
    return [
        _check(
            "no dimension has died",
            LIVE,
            [(False, name) for name in dead] or compared,
            "not undefined or constant for everyone",
        ),
        *_drift_checks([drift for drift in drifts if drift.name not in dead], how),
    ]


def _drift_checks(drifts: Sequence[DimensionDrift], how: GateParameters) -> list[Check]:
    worst = sorted(drifts, key=lambda drift: (-drift.psi, drift.name))
    entries = [(drift.psi <= how.max_psi, f"{drift.name} {drift.psi:.2f}") for drift in worst]
    much = [drift.name for drift in worst if drift.psi > MUCH]
    named = f": {', '.join(much[:MOST_NAMED])}" if much else ""
    few = len(much) <= how.max_drifted * len(drifts)
    spread = [(few, f"{len(much)} of {len(drifts)} dimensions{named}")] if drifts else []
    return [
        _check("no dimension is another altogether", LIVE, entries, f"PSI at most {how.max_psi:g}"),
        _check("few dimensions have drifted", LIVE, spread, f"PSI above {MUCH:g} in at most {how.max_drifted:.0%}"),
    ]


def check_rank(measures: Figures, live: Figures, tracks: int, how: GateParameters) -> Check:
    """How many dimensions the embeddings span, with `tracks` of them on the smaller side."""
    now, before = measures.get("embedding_rank", np.nan), live.get("embedding_rank", np.nan)
    least = (1.0 - how.max_rank_loss) * before
    comparable = tracks >= how.min_entities and not np.isnan(now + before)
    entries = [(now >= least, f"{now:,.0f}, live {before:,.0f}")] if comparable else []
    return _check("embeddings span their dimensions", LIVE, entries, f"at most {how.max_rank_loss:.0%} fewer")


def check_ranking(metrics: Figures, live: Figures, k: int, how: GateParameters) -> Check:
    """Ranking by nDCG at k on both releases' time splits; a drop fails when it is both large and no chance.

    The two errors are taken as independent: most users are measured in both, which makes the true one smaller.
    """
    now, before = metrics.get(f"ndcg@{k}", np.nan), live.get(f"ndcg@{k}", np.nan)
    error = float(np.hypot(metrics.get(f"ndcg@{k}_se", np.nan), live.get(f"ndcg@{k}_se", np.nan)))
    users = min(metrics.get("users", 0.0), live.get("users", 0.0))
    entries = []
    if users >= how.min_ranked and not np.isnan(now + before + error):
        drop = before - now
        lost = drop > how.max_ndcg_drop * before and drop > how.ndcg_errors * error
        entries = [(not lost, f"ndcg@{k} {now:.4f}, live {before:.4f}, standard error {error:.4f}")]
    limit = f"not both {how.max_ndcg_drop:.0%} and {how.ndcg_errors:g} errors lower"
    return _check("lists rank as well as before", LIVE, entries, limit)


def _check(name: str, against: str, entries: Sequence[tuple[bool, str]], limit: str) -> Check:
    """One check of many comparisons: names those that failed, or else the first ones."""
    faults = [text for sound, text in entries if not sound]
    shown = faults or [text for _, text in entries]
    more = [f"and {len(shown) - MOST_NAMED} more"] if len(shown) > MOST_NAMED else []
    told = "; ".join([*shown[:MOST_NAMED], *more]) or "too little to compare"
    return Check(name, not faults, f"{told} ({limit})", against)


def _usual(values: Sequence[float], how: GateParameters) -> float:
    """The median of the nights that have a figure; NaN of too few."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.median(known)) if len(known) >= how.min_nights else np.nan


def _share(counts: tuple[int, int], least: int) -> float:
    aside, read = counts
    return aside / read if read >= least else np.nan


def _enough(measures: Figures, name: str, how: GateParameters) -> float:
    """A share of plays, where there were plays enough to speak of one."""
    few = name != "embeddings_empty" and not measures.get("plays_last_week", 0.0) >= how.min_rows
    return np.nan if few else measures.get(name, np.nan)


def _is_dead(values: np.ndarray) -> bool:
    defined = values[~np.isnan(values)]
    return not len(defined) or bool(np.ptp(defined) <= ROUNDING)


def _is_lively(values: np.ndarray) -> bool:
    if _is_dead(values):
        return False
    return bool((np.abs(values - np.nanmedian(values)) > ROUNDING).mean() >= LIVELY)
