"""Which images or groups are held out: by hashes of their names, so that it depends on no order."""

import hashlib
from collections.abc import Mapping

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


def stratified_splits(scenes: Mapping[str, set[str]], val: float, test: float, seed: int) -> dict[str, str]:
    """The split of each scene, by the rank of the hash of its name: of each class, shares `val` and `test` of its
    scenes, at least one each where the share is not 0, while one stays for training.

    scenes: of each class; some may be of several classes, which are then drawn from the class of fewest scenes on, and
    none takes another's last scene for training. Raises DataError where a share is not 0 and no class has a scene for
    it.
    """
    check_shares(val, test)
    split_of: dict[str, str] = {}
    classes = sorted(scenes, key=lambda name: (len(scenes[name]), name))
    classes_of: dict[str, list[str]] = {}
    for name in classes:
        for scene in scenes[name]:
            classes_of.setdefault(scene, []).append(name)
    left = {name: len(scenes[name]) for name in classes}
    for name in classes:
        ranked = sorted(scenes[name], key=lambda scene: hashlib.sha256(f"{seed}/{scene}".encode()).digest())
        for split, share in (("val", val), ("test", test)):
            wanted = max(1, round(share * len(ranked))) if share else 0
            wanted -= sum(split_of.get(scene) == split for scene in ranked)
            for scene in ranked:
                if wanted > 0 and scene not in split_of and all(left[of] > 1 for of in classes_of[scene]):
                    split_of[scene] = split
                    left.update({of: left[of] - 1 for of in classes_of[scene]})
                    wanted -= 1
    held_out = {*split_of.values()}
    lacking = [split for split, share in (("val", val), ("test", test)) if share and split not in held_out]
    if lacking:
        raise DataError(
            f"no class has scenes enough to hold one out for {lacking[0]}: {lacking[0]}=0 holds out none, or add "
            "photos of other scenes"
        )
    return {scene: split_of.get(scene, "train") for scene in classes_of}
