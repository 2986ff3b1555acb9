"""Texts in Arrow dictionaries, cut down to what is used."""

import numpy as np
import pyarrow as pa
from numba import njit


def compacted(values: pa.DictionaryArray) -> pa.DictionaryArray:
    """The same values, none null, with a dictionary of those alone that stand among them, in the order of meeting them.

    So it depends on the values only, if no text stands twice in the dictionary: on nothing that they were cut from.
    """
    indices = values.indices.to_numpy()
    place, met = np.full(len(values.dictionary), -1, np.int32), np.empty(len(indices), np.int32)
    order = np.empty(min(len(place), len(indices)), np.int32)
    count = _number(indices, place, met, order)
    return pa.DictionaryArray.from_arrays(pa.array(met), values.dictionary.take(pa.array(order[:count])))


@njit(nogil=True, cache=True)
def _number(indices: np.ndarray, place: np.ndarray, met: np.ndarray, order: np.ndarray) -> int:
    """Numbers in the order of meeting them.

    Args:
        indices: (n,) of what is met.
        place: (distinct,) its number, -1 for what is not met; written.
        met: (n,) the number of each, written.
        order: what has each number, written as far as there are any, which is returned.
    """
    count = 0
    for entry in range(len(indices)):
        index = indices[entry]
        if place[index] < 0:
            place[index] = count
            order[count] = index
            count += 1
        met[entry] = place[index]
    return count
