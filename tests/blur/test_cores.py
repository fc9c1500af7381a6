import threading

import pytest
import torch

from blurtrain.blur.cores import image_by_image


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> int:
    """torch's threads, put back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("n", [0, 1, 2, 23])
def test_every_image_once_each_on_one_core(threads: int, n: int) -> None:
    seen: list[tuple[int, int]] = []
    image_by_image(lambda k: seen.append((k, torch.get_num_threads())), n)
    assert sorted(seen) == [(k, 1) for k in range(n)]
    assert torch.get_num_threads() == threads
    fresh: list[int] = []  # nor do threads that begin later compute on one core only
    thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert fresh == [threads]


def test_one_inside_another(threads: int) -> None:
    seen: list[int] = []
    image_by_image(lambda _: image_by_image(seen.append, 3), 4)
    assert sorted(seen) == [0] * 4 + [1] * 4 + [2] * 4


def test_errors_come_out_and_others_work_on(threads: int) -> None:
    def fail(k: int) -> None:
        raise ValueError(f"image {k}")

    with pytest.raises(ValueError, match="image"):
        image_by_image(fail, 5)
    done: list[int] = []
    image_by_image(done.append, 5)
    assert sorted(done) == [0, 1, 2, 3, 4]


def test_inference_mode_and_gradients_are_as_outside(threads: int) -> None:
    def modes() -> set[tuple[bool, bool]]:
        seen = set()
        image_by_image(lambda _: seen.add((torch.is_inference_mode_enabled(), torch.is_grad_enabled())), 6)
        return seen

    assert modes() == {(False, True)}
    with torch.no_grad():
        assert modes() == {(False, False)}
    with torch.inference_mode():
        assert modes() == {(True, False)}
        out = torch.zeros(6)
        image_by_image(lambda k: out[k : k + 1].add_(k), 6)
        assert out.tolist() == [0, 1, 2, 3, 4, 5]
