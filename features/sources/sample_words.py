"""Readable made-up names: phrases from small word lists, none of them meant to be anybody's."""

from hashlib import blake2b

import numpy as np

ADJECTIVES = (
    "amber",
    "brittle",
    "candid",
    "distant",
    "early",
    "feral",
    "gentle",
    "hollow",
    "idle",
    "jagged",
    "kindled",
    "lunar",
    "muted",
    "narrow",
    "oblique",
    "patient",
    "quiet",
    "rusted",
    "silver",
    "tidal",
    "uneven",
    "velvet",
    "wandering",
    "young",
    "bright",
    "crooked",
    "drowsy",
    "electric",
    "faded",
    "golden",
    "hidden",
    "inner",
    "little",
    "marble",
    "northern",
    "open",
    "paper",
    "restless",
    "salted",
    "tangled",
    "upward",
    "violet",
    "weathered",
)
NOUNS = (
    "anchor",
    "bicycle",
    "canyon",
    "drawer",
    "ember",
    "feather",
    "garden",
    "harbor",
    "island",
    "jacket",
    "kettle",
    "lantern",
    "meadow",
    "needle",
    "orchard",
    "pocket",
    "quarry",
    "ribbon",
    "signal",
    "thicket",
    "umbrella",
    "valley",
    "window",
    "yarn",
    "zipper",
    "attic",
    "bridge",
    "comet",
    "doorway",
    "engine",
    "ferry",
    "glacier",
    "hammock",
    "inkwell",
    "juniper",
    "kite",
    "ladder",
    "mirror",
    "notebook",
    "oyster",
    "pendulum",
    "rooftop",
    "satellite",
    "teacup",
    "tunnel",
    "violin",
    "walnut",
    "balcony",
    "cellar",
    "dune",
    "echo",
    "furnace",
    "gravel",
    "horizon",
    "lighthouse",
    "magnet",
)
VERBS = (
    "borrow",
    "carry",
    "chase",
    "count",
    "draw",
    "fold",
    "follow",
    "gather",
    "hold",
    "keep",
    "lend",
    "mend",
    "open",
    "paint",
    "plant",
    "remember",
    "return",
    "save",
    "send",
    "sing",
    "trade",
    "trust",
    "unwind",
    "wake",
    "watch",
)
TRACK_PATTERNS = (
    "{a} {n}",
    "{n} and {m}",
    "{v} the {n}",
    "{v} My {a} {n}",
    "{a} {n}, {a2} {m}",
    "{n} in the {m}",
)
ARTIST_PATTERNS = (
    "The {a} {n}s",
    "{a} {n} Club",
    "{n} & {m}",
    "{n} {m} Band",
    "Saint {n} {m}",
    "{a} {a2} {n}",
)
ALBUM_PATTERNS = (
    "{a} {n}",
    "The {n} Sessions",
    "Letters to the {n}",
    "{n}, {m}",
    "{a} by the {n}",
    "{v} and {v2}",
)
PERSON_PATTERNS = ("{a} {n}",)
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def phrases(rng: np.random.Generator, count: int, patterns: tuple[str, ...]) -> list[str]:
    """Phrases, no two alike while the words last; then they are numbered."""
    found: dict[str, None] = {}
    rounds = 0
    while len(found) < count:
        rounds += 1
        size = count - len(found)
        which = rng.integers(0, len(patterns), size)
        words = [rng.integers(0, len(lexicon), (size, 2)) for lexicon in (ADJECTIVES, NOUNS, VERBS)]
        for i in range(size):
            (a, a2), (n, m), (v, v2) = (
                (lexicon[chosen[i, 0]], lexicon[chosen[i, 1]])
                for lexicon, chosen in zip((ADJECTIVES, NOUNS, VERBS), words, strict=True)
            )
            phrase = patterns[which[i]].format(
                a=a.title(), a2=a2.title(), n=n.title(), m=m.title(), v=v.title(), v2=v2.title()
            )
            found.setdefault(phrase if rounds <= 8 else f"{phrase} {rounds - 7}")
    return list(found)


def base62_id(*parts: object) -> str:
    """22 characters of base 62, of the form of Spotify's ids, made from the parts."""
    number = int.from_bytes(blake2b(repr(parts).encode(), digest_size=16).digest(), "big")
    digits = []
    for _ in range(22):
        number, digit = divmod(number, 62)
        digits.append(BASE62[digit])
    return "".join(reversed(digits))
