"""A profile in words."""

import math
from collections.abc import Mapping

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
SCALES = {
    "energy_mean": ("calm", "of middling energy", "energetic"),
    "valence_mean": ("sombre", "neither sad nor glad", "cheerful"),
    "danceability_mean": ("not for dancing", "fairly danceable", "danceable"),
    "acousticness_mean": ("electric", "half acoustic", "acoustic"),
}
LOW, HIGH = 0.4, 0.6


def profile_in_words(profile: Mapping[str, float]) -> list[str]:
    """A few sentences that the numbers bear out; what is undefined is not mentioned."""
    lines = [_sound(profile), _genres(profile), _rhythm(profile), _habits(profile)]
    return [line for line in lines if line]


def _sound(profile: Mapping[str, float]) -> str:
    words = [
        words[0 if value < LOW else 2 if value > HIGH else 1]
        for name, words in SCALES.items()
        if not math.isnan(value := profile.get(name, math.nan))
    ]
    tempo = profile.get("tempo_mean", math.nan)
    if words and not math.isnan(tempo):
        words.append(f"around {tempo * 250:.0f} beats a minute")
    return f"Music that is {', '.join(words)}" if words else ""


def _genres(profile: Mapping[str, float]) -> str:
    shares = {
        name.removeprefix("genre_").replace("_", " "): value
        for name, value in profile.items()
        if name.startswith("genre_") and name != "genre_other" and value > 0
    }
    best = sorted(shares.items(), key=lambda entry: -entry[1])[:3]
    return "Mostly " + ", ".join(f"{name} ({share:.0%})" for name, share in best) if best else ""


def _rhythm(profile: Mapping[str, float]) -> str:
    hours = [profile[f"hour_{hour:02d}"] for hour in range(24)]
    three = [hours[h] + hours[(h + 1) % 24] + hours[(h + 2) % 24] for h in range(24)]
    start = max(range(24), key=lambda hour: three[hour])
    days = {name: profile[f"weekday_{name}"] for name in WEEKDAYS}
    top = max(days, key=lambda name: days[name])
    return (
        f"Listens most from {start:02d} to {(start + 3) % 24:02d} h UTC ({three[start]:.0%} of plays), "
        f"and on {top.capitalize()}s ({days[top]:.0%})"
    )


def _habits(profile: Mapping[str, float]) -> str:
    parts = [f"{profile['repeat_rate']:.0%} of plays are repeats"]
    if not math.isnan(profile["skip_rate"]):
        parts.append(f"{profile['skip_rate']:.0%} are skipped")
    parts.append(f"{profile['plays_per_day_30d']:.1f} plays a day over the last 30 days")
    return ", ".join(parts).capitalize()
