"""Who made a track: the artists it is filed under, and those its title names as guests or remixers."""

import re
import unicodedata

import numpy as np
import scipy.sparse as sp

from features.compute.dataset import Catalog

GUESTS = re.compile(r"\b(?:feat\.?|ft\.?|featuring|with)\s+([^()\[\]-]+)")
"""In "Song (feat. A & B)" it finds "A & B"."""
REMIXERS = re.compile(
    r"[-(\[]\s*([^()\[\]-]+?)(?:\s+(?:extended|radio|club|vip|official))*\s+(?:remix|edit|mix|rework|bootleg)\b"
)
"""In "Song - A Extended Remix" it finds "A", in "Song - Radio Edit" an artist only where one is called Radio."""
TOGETHER = re.compile(r"\s*(?:,|&|\band\b|\bx\b|\bfeat\.?\s|\bft\.?\s)\s*")
SHORTEST = 3
"""Letters of a name that is looked for in titles: shorter ones are words as well."""


def credit_rows(catalog: Catalog) -> sp.csr_matrix:
    """(tracks, artists) float64 CSR in unit rows: whom the catalogue credits or names, all of one track alike.

    Only first artists of the catalogue count, since what no other track has likens nothing. Case and accents are put
    aside, also between artists: two that differ in nothing else are one here.
    """
    number_of: dict[str, int] = {}
    for number, name in enumerate(catalog.artist_names.ids()):
        number_of.setdefault(plain(name), number)
    pairs = [
        (track, number_of[name])
        for track, (title, artists) in enumerate(zip(catalog.names, catalog.artists, strict=True))
        for name in sorted(credited(title or "", artists or ()))
        if name in number_of
    ]
    row, column = np.array(pairs, np.int64).reshape(-1, 2).T
    made = sp.csr_matrix((np.ones(len(row)), (row, column)), shape=(len(catalog.names), len(catalog.artist_names)))
    return (sp.diags(np.maximum(np.diff(made.indptr), 1) ** -0.5) @ made).tocsr()


def credited(title: str, artists: tuple[str, ...]) -> set[str]:
    """Names, plain ones, of who may have a part in a track.

    >>> sorted(credited("Dawn (feat. Ana & Bob) - Cleo Extended Remix", ("Dee, Eve",)))
    ['ana', 'bob', 'cleo', 'dee', 'dee, eve', 'eve']
    """
    title = plain(title)
    filed = {plain(name) for name in artists}
    said = [part for pattern in (GUESTS, REMIXERS) for part in pattern.findall(title)]
    named = {name.strip(" .") for part in (*said, *filed) for name in TOGETHER.split(part)}
    return filed | {name for name in named if len(name) >= SHORTEST or name in filed} - {""}


def plain(name: str) -> str:
    """A name in lower case without accents; one of another script as it is, in lower case."""
    if name.isascii():  # most are, and the others take ten times as long
        return name.casefold().strip()
    letters = unicodedata.normalize("NFKD", name)
    return "".join(letter for letter in letters if not unicodedata.combining(letter)).casefold().strip()
