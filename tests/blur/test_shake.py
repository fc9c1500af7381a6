"""Camera shake: as its source draws it, and which image gets which kernel."""

import numpy as np
import pytest
import torch

from blurtrain.blur import kernels, shake
from blurtrain.blur.blurs import Blur


@pytest.mark.parametrize(("size", "taps", "extent"), [(8, 24, 7.5), (16, 54, 14.5), (24, 85, 21.3)])
def test_camera_shake_looks_like_the_source(size: int, taps: float, extent: float) -> None:
    drawn = [kernels.camera_shake(size, seed) for seed in range(400)]
    extents, counts = [], []
    for kernel in drawn:
        rows, columns = np.nonzero(kernel)
        counts.append(len(rows))
        extents.append(1 + max(np.ptp(rows), np.ptp(columns)))
        offsets = np.arange(len(kernel)) - len(kernel) // 2
        for marginal in (kernel.sum(0), kernel.sum(1)):
            assert abs(float(marginal @ offsets)) <= 0.5 + 1e-9
        assert kernel.sum() == pytest.approx(1, abs=1e-12)
        assert len(kernel) <= 41
    # The sources count the cells passed, of which N(1, 0.5^2) leaves a share of Phi(2) = 97.7 % with a weight above 0.
    assert np.mean(counts) / 0.97725 == pytest.approx(taps, rel=0.04)
    assert np.mean(extents) == pytest.approx(extent, rel=0.015)


def test_camera_shake_is_drawn_again_where_the_centred_grid_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shake.SHAKE_MAX_SIDE == 41
    drawn = [kernels.camera_shake(8, seed) for seed in range(40)]
    monkeypatch.setattr(shake, "SHAKE_MAX_SIDE", 9)  # only a centroid on cell 3 or 4 of 0..7 leaves that small a grid
    smaller = [shake.camera_shake.__wrapped__(8, seed) for seed in range(40)]
    assert max(map(len, smaller)) <= 9
    same = [len(one) == len(other) and np.array_equal(one, other) for one, other in zip(drawn, smaller, strict=True)]
    assert 5 < sum(same) < 35


def test_camera_shake_is_a_connected_path_of_spread_weights() -> None:
    kernel = kernels.camera_shake(24, 11)
    weights = kernel[kernel > 0] / kernel[kernel > 0].mean()
    assert 0.35 < weights.std() < 0.6  # max(0, N(1, 0.5^2))
    visited = {(int(row), int(column)) for row, column in np.argwhere(kernel > 0)}
    neighbours = [any((r + y, c + x) in visited for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x) for r, c in visited]
    assert np.mean(neighbours) > 0.95  # a cell may stand alone where its neighbours' weights were cut to 0


def test_camera_shake_is_pinned() -> None:
    """A seed gives this kernel for ever: results of published runs rest on it."""
    kernel = kernels.camera_shake(8, 0)
    assert kernel.shape == (7, 7) and np.count_nonzero(kernel) == 21
    assert kernel[0, 1] == pytest.approx(0.04372683592835303, rel=1e-9)
    assert kernel[1, 5] == pytest.approx(0.07474957289082904, rel=1e-9)
    assert kernel[3, 4] == pytest.approx(0.03667147343325098, rel=1e-9)
    assert kernel[6, 3] == pytest.approx(0.04767815374976678, rel=1e-9)


def test_camera_shake_depends_on_size_and_seed() -> None:
    for one, other in [((8, 0), (8, 1)), ((16, 0), (16, 1)), ((8, 0), (16, 0))]:
        first, second = kernels.camera_shake(*one), kernels.camera_shake(*other)
        assert first.shape != second.shape or not np.array_equal(first, second)


def test_test_and_training_kernels_have_no_seed_in_common() -> None:
    test, train = kernels.shake_seeds("test"), kernels.shake_seeds("train")
    assert (len(test), len(train)) == (100, 10_000)
    others = [set(kernels.shake_seeds(split, protocol)) for protocol in (1, 2) for split in ("test", "train")]
    everything = [set(test), set(train), *others]
    assert len(set.union(*everything)) == sum(map(len, everything))


def test_the_shakes_of_a_training_are_none_of_the_tests_whatever_the_run() -> None:
    """Through the blur that settings name, by the kernels themselves."""
    blur = Blur.parse("shake@384")
    test = {kernel.tobytes() for kernel in (blur.point_spread(index) for index in range(1000))}
    assert len(test) == 100
    for seed, epoch in ((0, 0), (0, 2), (1, 0), (7, 1)):
        train = [blur.point_spread(i, seed=seed, epoch=epoch, training=True).tobytes() for i in range(300)]
        assert not test & set(train) and len(set(train)) > 280
        assert {blur.point_spread(i, seed=seed, epoch=epoch).tobytes() for i in range(1000)} == test


def test_a_test_image_has_its_shake_in_every_setting() -> None:
    """Whatever else is in its batch, in whichever order, at every resolution and seed."""
    at384, at224 = Blur.parse("shake@384"), Blur.parse("shake")
    expected = [kernels.shake_for("test", index) for index in range(40)]
    for blur, seed, epoch in ((at384, 0, 0), (at384, 3, 2), (at224, 1, 5)):
        for index in reversed(range(40)):
            assert np.array_equal(blur.point_spread(index, seed=seed, epoch=epoch), expected[index])
    points = torch.zeros(6, 1, 96, 96)
    points[..., 48, 48] = 255
    indices = np.array([7, 3, 11, 3, 0, 30])
    together = at384.blurred(points, indices, resolution=96, seed=5)
    assert torch.equal(together[1], together[3]) and not torch.allclose(together[0], together[1], atol=1)
    for k, index in enumerate(indices):
        alone = at384.blurred(points[k : k + 1], [int(index)], resolution=96, seed=9, epoch=4)
        assert torch.allclose(alone[0], together[k], atol=1e-3)


def test_every_image_has_a_kernel_of_its_split_that_never_changes() -> None:
    test = [kernels.shake_seed("test", index) for index in range(2000)]
    train = [kernels.shake_seed("train", index) for index in range(2000)]
    assert set(test) == set(kernels.shake_seeds("test"))  # 2000 images meet all of 100 kernels
    assert set(train) < set(kernels.shake_seeds("train")) and len(set(train)) > 1700
    assert np.bincount(np.array(test) % 3).min() > 600  # and all of the three sizes
    assert test[:6] == [74, 41, 36, 44, 12, 88] and train[:3] == [6131, 9777, 760]
    assert [kernels.shake_seed("test", index, protocol_seed=1) - 10_100 for index in range(6)] != test[:6]
    assert [kernels.shake_seed("train", index, epoch=1) for index in range(3)] != train[:3]
    seed = test[4]
    assert kernels.shake_for("test", 4) is kernels.camera_shake((8, 16, 24)[seed % 3], seed)


def test_shakes_of_a_batch_are_those_of_its_images() -> None:
    batch = kernels.shakes_for("train", [7, 3, 7], protocol_seed=2, epoch=5)
    assert batch.shape == (3, 41, 41)
    np.testing.assert_array_equal(batch[0], batch[2])
    single = kernels.shake_for("train", 3, 2, 5)
    margin = (41 - len(single)) // 2
    np.testing.assert_array_equal(batch[1, margin : 41 - margin, margin : 41 - margin], single)
    assert batch[1].sum() == pytest.approx(1)
    assert kernels.shakes_for("test", []).shape == (0, 41, 41)


def test_camera_shake_errors() -> None:
    for size, seed, said in [(1, 0, "size"), (33, 0, "size"), (8.5, 0, "size"), (8, -1, "seed"), (8, 0.5, "seed")]:
        with pytest.raises(ValueError, match=said):
            kernels.camera_shake(size, seed)
    with pytest.raises(ValueError, match="splits test, train, not val"):
        kernels.shake_seeds("val")  # type: ignore[arg-type]
    for arguments, said in [((-1,), "index"), ((0, -1), "protocol_seed"), ((0, 0, 1), "epoch")]:
        with pytest.raises(ValueError, match=said):
            kernels.shake_seed("test", *arguments)
