"""Which of many hashes of 64 bits differ from one another in few bits, without comparing all with all.

Multi-index hashing (Norouzi, Punjani & Fleet, CVPR 2012): hashes are cut into four words of 16 bits. Where two differ
in at most d bits, one of their words differs in at most d // 4: so a table of each word, asked for all words so near to
it, brings every such pair, and of others few.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WORDS, WORD = 4, 16
MOST = 15
"""Largest distance that may be asked for: beyond, each word has thousands of neighbours."""
_QUERIES, _COMPARED = 256, 2**21
"""Hashes looked up together, and compared together."""

Hashes = NDArray[np.uint64]


class Pairs(NamedTuple):
    """Pairs of hashes, by their places."""

    query: NDArray[np.int64]
    found: NDArray[np.int64]
    distance: NDArray[np.int64]
    """Bits."""


class _Table(NamedTuple):
    """Where in `order` the hashes lie that have a word: from starts[word] to starts[word + 1]."""

    order: NDArray[np.int64]
    starts: NDArray[np.int64]


def nearest(queries: Hashes, index: Hashes, distance: int, most: int, same: bool, threads: int) -> Pairs:
    """Of each query [n], the `most` nearest hashes of the index that differ in at most `distance` (0..MOST) bits; in
    order of query, then distance, then place. same: both are the same hashes, and none is its own neighbour. Raises
    ValueError for another distance."""
    if not 0 <= distance <= MOST:
        raise ValueError(f"a distance must be within 0 and {MOST}, not {distance}")
    masks = _masks(distance // WORDS)
    kept = _thinned(index, most + same)
    index = index[kept]
    tables = [_table(words) for words in _words(index)]

    def look_up(first: int) -> Pairs:
        part = queries[first : first + _QUERIES]
        best = _best(_NONE, most)
        for words, table in zip(_words(part), tables, strict=True):
            for query, found in _candidates(words[:, None] ^ masks, table):
                bits = np.bitwise_count(part[query] ^ index[found])
                near = bits <= distance
                query, found, bits = query[near] + first, kept[found[near]], bits[near]
                if same:
                    other = query != found
                    query, found, bits = query[other], found[other], bits[other]
                best = _best(np.concatenate([np.stack(best), np.stack([query, found, bits])], 1), most)
        return best

    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(look_up, range(0, len(queries), _QUERIES)))
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True))) if parts else _best(_NONE, most)


def pairs_within(hashes: Hashes, distance: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """All pairs of places, each once and the lower first, whose hashes differ in at most `distance` bits; in order, and
    at most _COMPARED at a time. Compares all with all: for some ten thousand."""
    rows = max(1, _COMPARED // max(1, len(hashes)))
    for first in range(0, len(hashes), rows):
        part = hashes[first : first + rows, None]
        near = np.bitwise_count(part ^ hashes[first:]) <= distance
        low, high = np.nonzero(np.triu(near, 1))
        yield low + first, high + first


def _thinned(index: Hashes, most: int) -> NDArray[np.int64]:
    """The first places of each hash, in ascending order: of a crowd that has the same one, no more are ever wanted."""
    order = np.argsort(index, kind="stable")
    ranked = index[order]
    return np.sort(order[np.arange(len(index)) - np.searchsorted(ranked, ranked) < most])


_NONE = np.zeros((3, 0), np.int64)


def _words(of: Hashes) -> NDArray[np.uint16]:
    """[WORDS, n]."""
    return np.ascontiguousarray(of.view(np.uint16).reshape(-1, WORDS).T)


def _table(words: NDArray[np.uint16]) -> _Table:
    counts = np.bincount(words, minlength=2**WORD)
    return _Table(np.argsort(words, kind="stable"), np.concatenate([[0], np.cumsum(counts)]))


def _masks(radius: int) -> NDArray[np.uint16]:
    """All words of at most so many bits."""
    chosen = [bits for count in range(radius + 1) for bits in combinations(range(WORD), count)]
    return np.array([sum(1 << bit for bit in bits) for bits in chosen], np.uint16)


def _candidates(asked: NDArray[np.uint16], table: _Table) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of a row of `asked` [n, words] and a place in the index that has one of its words, some at a time."""
    first = table.starts[asked].ravel()
    counts = table.starts[asked.astype(np.int64) + 1].ravel() - first
    row = np.repeat(np.arange(len(asked)), asked.shape[1])
    occupied = np.flatnonzero(counts)
    first, counts, row = first[occupied], counts[occupied], row[occupied]
    ends = np.cumsum(counts)
    begin = 0
    while begin < len(counts):
        before = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, before + _COMPARED, "right")))
        own = counts[begin:end]
        within = np.arange(own.sum()) - np.repeat(np.cumsum(own) - own, own)
        yield np.repeat(row[begin:end], own), table.order[np.repeat(first[begin:end], own) + within]
        begin = end


def _best(pieces: NDArray[np.int64], most: int) -> Pairs:
    """The nearest of each query, each pair once."""
    query, found, distance = pieces[:, np.lexsort((pieces[1], pieces[2], pieces[0]))]
    new = np.ones(len(query), np.bool_)
    new[1:] = (query[1:] != query[:-1]) | (found[1:] != found[:-1])
    query, found, distance = query[new], found[new], distance[new]
    starts = np.searchsorted(query, query)
    kept = np.arange(len(query)) - starts < most
    return Pairs(query[kept], found[kept], distance[kept])
