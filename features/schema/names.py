"""Field names and closed lists of values, spelled once. The database is camelCase; inside we are snake_case."""

from typing import NamedTuple

USERS = "users"
USER_SETTINGS = "user_settings"
LISTENING_HISTORY = "listening_history"
USER_FEEDBACK = "user_feedback"
TRACKS = "tracks"
FEATURE_STORE = "feature_store"
RECOMMENDATIONS = "recommendations"
RECOMMENDATIONS_CACHE = "recommendations_cache"
CHAT_SESSIONS = "chat_sessions"
EVENTS = "events"
RELEASES = "releases"


class AudioFeature(NamedTuple):
    """One of Spotify's audio features: our name, the database's, and the range a real value lies in."""

    name: str
    field: str
    low: float
    high: float


AUDIO_FEATURES = (
    AudioFeature("danceability", "danceability", 0, 1),
    AudioFeature("energy", "energy", 0, 1),
    AudioFeature("key", "key", -1, 11),  # pitch class; -1 is Spotify's "no key found"
    AudioFeature("loudness", "loudness", -100, 20),  # dB; real files reach from -60 to just above 0
    AudioFeature("mode", "mode", 0, 1),  # 0 minor, 1 major
    AudioFeature("speechiness", "speechiness", 0, 1),
    AudioFeature("acousticness", "acousticness", 0, 1),
    AudioFeature("instrumentalness", "instrumentalness", 0, 1),
    AudioFeature("liveness", "liveness", 0, 1),
    AudioFeature("valence", "valence", 0, 1),
    AudioFeature("tempo", "tempo", 0, 1000),  # BPM; 0 is Spotify's "no beat found"
    AudioFeature("time_signature", "timeSignature", 0, 16),  # beats a bar; 0 is "not found"
)
AUDIO_NAMES = tuple(feature.name for feature in AUDIO_FEATURES)

SIGNALS = ("love", "like", "save", "replay", "skip", "dislike")
STRATEGIES = ("collaborative", "content-based", "hybrid", "popular")
SERVING_ORDER = ("hybrid", "collaborative", "content-based", "popular")
"""Which of a user's lists is served where none is asked for: the first that there is."""
FEATURE_TYPES = ("user_profile", "track_embedding", "similarity")
PLATFORMS = ("web", "mobile", "desktop")
ROLES = ("user", "assistant", "system")
AUDIO_QUALITIES = ("high", "medium", "low")
THEMES = ("light", "dark", "auto")
DENSITIES = ("compact", "comfortable", "spacious")
REPEAT_MODES = ("off", "track", "context")
TIMES_OF_DAY = ("morning", "afternoon", "evening", "night")
EVENT_SOURCES = ("api", "ui", "system")
RELEASE_STATES = ("building", "built", "uploading", "live", "retired", "failed")

MAX_ID_BYTES = 256
"""A longer id is taken for a fault: Spotify's are 22 characters, the longest id we have seen is 64."""
MAX_PLAY_MS = 24 * 3_600_000
"""A play or a track longer than a day is taken for a fault."""
