"""The one table of what a play or a piece of feedback is worth, and why.

The order is the contract's: love > like = save > replay > a completed play > a partial play > 0 > skip >
dislike. A completed play is the unit. Absolute values matter little to rankings; ratios do.
"""

from collections.abc import Mapping
from types import MappingProxyType

SIGNAL_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "love": 5.0,  # the strongest thing a listener can say; worth some thirty plays after the logarithm
        "like": 3.0,
        "save": 3.0,  # to keep a track is to like it
        "replay": 1.5,  # heard again on purpose: more than a play that the next track would have followed anyway
        "skip": -1.0,  # undoes one completed play, not a liking
        "dislike": -5.0,  # below any skip; excludes the track, unless a later like takes it back
    }
)
NEUTRAL_STRENGTH = 3.0
"""The middle of 1..5. A signal's weight is scaled by strength / 3; one without a strength counts as it is."""

ACCEPTED_SIGNAL, ACCEPTED_STRENGTH = "like", 4.0
"""A recommendation accepted in a chat or elsewhere: asked for and taken, so a liking, and a firm one."""

COMPLETED = 0.8
"""Heard to 80 %: fade-outs and cross-fades make players move on before the end."""
SKIPPED = 0.15
"""Left within the first 15 %, some 30 seconds of a song: what Spotify itself does not count as a stream."""
SKIPPED_PLAY_WEIGHT = -0.25
"""Milder than an explicit skip: the phone may have rung."""
PARTIAL_PLAY_FLOOR = 0.1
"""A partial play rises in a line from here at SKIPPED to 1 at COMPLETED: always above nothing."""
UNKNOWN_PLAY_WEIGHT = 0.6
"""Completion unknown is not zero and not a skip: the middle of what a play that was not skipped is worth."""
