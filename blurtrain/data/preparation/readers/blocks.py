"""Splits of frames by contiguous blocks, so that no frame has its neighbour in another split."""

import hashlib
from collections.abc import Mapping

from blurtrain.errors import DataError


def split_blocks(
    videos: Mapping[str, int], size: int, gap: int, shares: Mapping[str, float], seed: int
) -> dict[str, list[tuple[int, str]]]:
    """Block and split of each frame of the `videos` of one object, by name; frames in their order.

    videos: how many frames each has; it is cut into blocks of `size` frames, the last of up to 2 size - 1. shares: of
    val and test, in blocks of all videos together, at least one each where it is not 0; they are drawn by the rank of
    a hash of the block. gap: so many frames of training (and of val, beside test) next to another split are in
    none (""). Raises DataError where there are too few blocks.
    """
    block_of = {name: [min(k // size, max(1, n // size) - 1) for k in range(n)] for name, n in videos.items()}
    ranked = sorted(
        ((name, block) for name, blocks in block_of.items() for block in set(blocks)),
        key=lambda unit: hashlib.sha256(f"{seed}/{unit[0]}/{unit[1]}".encode()).digest(),
    )
    split_of, first = dict[tuple[str, int], str](), 0
    for split in ("test", "val"):
        count = max(1, round(shares[split] * len(ranked))) if shares[split] else 0
        split_of |= dict.fromkeys(ranked[first : first + count], split)
        first += count
    if first >= len(ranked):
        name = next(iter(videos), "no video")
        raise DataError(
            f"{name} and what else there is of its object: {len(ranked)} blocks of {size} frames are too few to hold "
            f"{first} out and train on some; smaller blocks (block=N) or shares (val=, test=) leave more"
        )
    return {
        name: [(block, split) for block, split in zip(blocks, _apart(name, blocks, split_of, gap), strict=True)]
        for name, blocks in block_of.items()
    }


def _apart(name: str, blocks: list[int], split_of: Mapping[tuple[str, int], str], gap: int) -> list[str]:
    given = [split_of.get((name, block), "train") for block in blocks]
    weight = {"train": 0, "val": 1, "test": 2}

    def near_another(k: int) -> bool:
        near = given[max(0, k - gap) : k + gap + 1]
        return any(weight[other] > weight[given[k]] for other in near)

    return ["" if near_another(k) else split for k, split in enumerate(given)]
