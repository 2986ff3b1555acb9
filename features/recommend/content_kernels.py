"""What `Content.parts`, `influence` and `influences` say, of all lists of a block of users at once.

The model's own methods make a few sparse matrices a user, which takes longer than what is computed. Here a user's
profile, or what a list's tracks are in sum, is laid out over all words once, and each track adds up its own few words
and its waves. Cost: words and waves of what is listed and of the histories. Working memory: a number a word.
"""

import numpy as np
from numba import njit

from features.compute.gather import arrays, product
from features.recommend.listed import Listed
from features.recommend.models.content import Content
from features.recommend.models.track_features import waves_of


def content_parts(model: Content, listed: Listed) -> dict[str, np.ndarray]:
    """By kind, (p,) float64 as `Content.parts`, of the pairs of lists.

    Where scores are smoothed over users a profile is made of everybody's, and the model asked user by user.
    """
    waves = waves_of(model.waves)
    kinds = (*model.kinds_, *waves)
    found = np.zeros((len(kinds), len(listed.track)))
    if model.smoothing_ is not None:
        for row, user in enumerate(listed.users.tolist()):
            pairs = slice(int(listed.begin[row]), int(listed.begin[row + 1]))
            if pairs.start < pairs.stop:
                parts = model.parts(user, listed.track[pairs])
                found[:, pairs] = [parts[kind] for kind in kinds]
        return dict(zip(kinds, found, strict=True))
    named = model.named_
    profiles, felt = model.profiles_of(listed.users)
    ends = np.cumsum([0, *waves.values()])
    _parts(
        *(0, len(listed.users), listed.begin, listed.track),
        *(profiles.indptr, profiles.indices, profiles.data, felt),
        *(*arrays(named), model.felt_),
        *(model.word_ends_, ends, model.lift_, model.usual_named_, model.usual_felt_, found),
    )
    return dict(zip(kinds, found, strict=True))


def content_influence(
    model: Content, users: np.ndarray, begin: np.ndarray, track: np.ndarray, history_begin: np.ndarray
) -> np.ndarray:
    """(h,) float64 as `Content.influence`, of lists one behind the other.

    Args:
        model: fitted.
        users: (l,) whose lists.
        begin: (l + 1,) where each list begins in `track`.
        track: (a,) the lists' tracks.
        history_begin: (l + 1,) where each user's history begins in what is returned.
    """
    found = np.zeros(int(history_begin[-1]))
    scored, named = model.scored_, model.named_
    _influence(
        *(0, len(users), users, begin, track, history_begin, *arrays(scored)),
        *(*arrays(named), named.shape[1], model.felt_, model.lift_, found),
    )
    return found


def content_strongest(model: Content, users: np.ndarray, track: np.ndarray) -> np.ndarray:
    """(a,) int64: of each user's history the track that is most of what `Content.influences` says of a track.

    Another than that track, of equals the lower; -1 where none adds anything.

    Args:
        model: fitted.
        users: (a,) who.
        track: (a,) whose score.
    """
    found = np.empty(len(users), np.int64)
    scored, named = model.scored_, model.named_
    _strongest(
        *(0, len(users), users, track, *arrays(scored)),
        *(*arrays(named), named.shape[1], model.felt_, model.lift_, found),
    )
    return found


@njit(nogil=True, cache=True)
def _parts(
    start: int,
    stop: int,
    begin: np.ndarray,
    track: np.ndarray,
    profile_begin: np.ndarray,
    profile_word: np.ndarray,
    profile: np.ndarray,
    felt_profile: np.ndarray,
    word_begin: np.ndarray,
    word: np.ndarray,
    value: np.ndarray,
    felt: np.ndarray,
    word_ends: np.ndarray,
    ends: np.ndarray,
    lift: np.ndarray,
    usual_named: np.ndarray,
    usual_felt: np.ndarray,
    found: np.ndarray,
) -> None:
    kinds = len(word_ends)
    worth = np.zeros(word_ends[-1], np.float32)
    usual, parts = np.zeros(len(found)), np.zeros(len(found))
    own_felt = np.empty(felt.shape[1], np.float32)
    for row in range(start, stop):
        if begin[row] == begin[row + 1]:
            continue
        own_felt[:] = felt_profile[row]
        own = slice(profile_begin[row], profile_begin[row + 1])
        worth[profile_word[own]] = profile[own]
        _by_kind(profile_word[own], profile[own], usual_named, word_ends, usual)
        _by_wave(usual_felt, own_felt, ends, usual[kinds:])
        for pair in range(begin[row], begin[row + 1]):
            listed = track[pair]
            words = slice(word_begin[listed], word_begin[listed + 1])
            _by_kind(word[words], value[words], worth, word_ends, parts)
            _by_wave(felt[listed], own_felt, ends, parts[kinds:])
            for number in range(len(found)):
                found[number, pair] = parts[number] * lift[listed] - usual[number]
        worth[profile_word[own]] = np.float32(0.0)


@njit(nogil=True, cache=True)
def _by_kind(words: np.ndarray, values: np.ndarray, worth: np.ndarray, ends: np.ndarray, parts: np.ndarray) -> None:
    """What each kind of words gives, written to the first of `parts`.

    Args:
        words: (w,) ascending, so that kinds follow one another.
        values: (w,) of each.
        worth: of all words, what a value of one counts.
        ends: (kinds,) behind the last word of each kind.
        parts: (kinds or more,) float64.
    """
    parts[: len(ends)] = 0.0
    kind = 0
    for at in range(len(words)):
        while words[at] >= ends[kind]:
            kind += 1
        parts[kind] += float(values[at]) * float(worth[words[at]])


@njit(nogil=True, cache=True)
def _by_wave(one: np.ndarray, other: np.ndarray, ends: np.ndarray, parts: np.ndarray) -> None:
    """What each kind of waves gives; `ends` are (kinds + 1,), where each begins and the last one's end."""
    for wave in range(len(ends) - 1):
        parts[wave] = product(one[ends[wave] : ends[wave + 1]], other[ends[wave] : ends[wave + 1]])


@njit(nogil=True, cache=True)
def _influence(
    start: int,
    stop: int,
    users: np.ndarray,
    begin: np.ndarray,
    track: np.ndarray,
    history_begin: np.ndarray,
    scored_begin: np.ndarray,
    scored_track: np.ndarray,
    scored: np.ndarray,
    word_begin: np.ndarray,
    word: np.ndarray,
    value: np.ndarray,
    words: int,
    felt: np.ndarray,
    lift: np.ndarray,
    found: np.ndarray,
) -> None:
    worth = np.zeros(words)
    waves = np.empty(felt.shape[1], np.float32)
    for row in range(start, stop):
        waves[:] = 0.0
        for place in range(begin[row], begin[row + 1]):
            listed = track[place]
            for entry in range(word_begin[listed], word_begin[listed + 1]):
                worth[word[entry]] += value[entry] * lift[listed]
            for wave in range(len(waves)):
                waves[wave] += felt[listed, wave] * lift[listed]
        own = history_begin[row]
        for at in range(scored_begin[users[row]], scored_begin[users[row] + 1]):
            if scored[at] > 0:  # what the user is put off by is no history
                total = product(felt[scored_track[at]], waves)
                for entry in range(word_begin[scored_track[at]], word_begin[scored_track[at] + 1]):
                    total += value[entry] * worth[word[entry]]
                found[own] = scored[at] * total
                own += 1
        for place in range(begin[row], begin[row + 1]):
            for entry in range(word_begin[track[place]], word_begin[track[place] + 1]):
                worth[word[entry]] = 0.0


@njit(nogil=True, cache=True)
def _strongest(
    start: int,
    stop: int,
    users: np.ndarray,
    track: np.ndarray,
    scored_begin: np.ndarray,
    scored_track: np.ndarray,
    scored: np.ndarray,
    word_begin: np.ndarray,
    word: np.ndarray,
    value: np.ndarray,
    words: int,
    felt: np.ndarray,
    lift: np.ndarray,
    found: np.ndarray,
) -> None:
    worth = np.zeros(words, np.float32)
    for asked in range(start, stop):
        listed, most = track[asked], 0.0
        found[asked] = -1
        if lift[listed] <= 0:
            continue
        for entry in range(word_begin[listed], word_begin[listed + 1]):
            worth[word[entry]] = value[entry]
        for at in range(scored_begin[users[asked]], scored_begin[users[asked] + 1]):
            own = scored_track[at]
            if scored[at] > 0 and own != listed:  # what the user is put off by is no history
                total = product(felt[own], felt[listed])
                for entry in range(word_begin[own], word_begin[own + 1]):
                    total += float(value[entry]) * float(worth[word[entry]])
                if scored[at] * total > most:
                    most = scored[at] * total
                    found[asked] = own
        for entry in range(word_begin[listed], word_begin[listed + 1]):
            worth[word[entry]] = np.float32(0.0)
