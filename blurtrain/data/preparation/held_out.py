"""Which images or groups are held out: by hashes of their names, so that it depends on no order."""

import hashlib

from blurtrain.errors import DataError


def check_shares(val: float, test: float) -> None:
    """Raise DataError for shares that leave nothing for training."""
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise DataError(f"split shares val={val}, test={test}: must be >= 0 and leave something for training")


def drawn_splits(label: str, units: set[str], val: float, test: float, seed: int, noun: str) -> dict[str, str]:
    """The split of each unit (an image or a group of them) by the rank of the hash of its name: shares `val` and `test`
    are held out, at least one each where the share is not 0. Raises DataError where none would be left for training;
    label: of what they are, for the message; "": of all.
    """
    ranked = sorted(units, key=lambda unit: hashlib.sha256(f"{seed}/{unit}".encode()).digest())
    n_test, n_val = (max(1, round(share * len(ranked))) if share else 0 for share in (test, val))
    if len(ranked) - n_test - n_val < 1:
        raise DataError(
            f"{f'label {label!r} has' if label else 'there are'} {len(ranked)} {noun}: too few for "
            f"{' and '.join(n for n, k in (('train', 1), ('val', n_val), ('test', n_test)) if k)}; "
            "leave it out (min_images, min_leaves) or choose other shares"
        )
    return {
        unit: "test" if rank < n_test else "val" if rank < n_test + n_val else "train"
        for rank, unit in enumerate(ranked)
    }
