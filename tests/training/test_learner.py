"""One step at a time: arithmetic, passes, averages, steps that are left out, and steps done by another learner."""

import copy
import io
import math
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from blurtrain.distributed import Group
from blurtrain.errors import TrainingError
from blurtrain.settings import Network, Optimisation, Precision, Pretrained, Settings
from blurtrain.training.batch_norm import SharedBatchNorm
from blurtrain.training.learner import Learner

ALONE = Group(0, 1, torch.device("cpu"))
BATCH, SIDE, CLASSES, RATE = 8, 9, 3, 0.02
Batches = Sequence[tuple[Tensor, Tensor]]


class Net(nn.Module):
    def __init__(self, batch_norm: bool = True):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 6, 3, bias=not batch_norm)
        self.norm = nn.BatchNorm2d(6) if batch_norm else nn.Identity()
        self.second = nn.Conv2d(6, 8, 3, stride=2)
        self.classifier = nn.Linear(8, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        features = self.second(self.norm(self.first(images)).relu())
        return self.classifier(features.relu().mean((2, 3)))


def settings(
    arithmetic: str = "float32", tf32: bool = False, compiled: bool = False, frozen: bool = False, **optimisation: Any
) -> Settings:
    norm = "frozen" if frozen else "batch"
    o = Optimisation(**{"batch_size": BATCH, "epochs": 1, "warmup_epochs": 0, "batch_norm": norm, **optimisation})
    p = Precision(arithmetic=arithmetic, tf32=tf32, compile=compiled)
    network = Network(architecture="resnet-18", pretrained=Pretrained(file="w.pt", sha256="a" * 64))
    return Settings(dataset="none", regime="clear", network=network, optimisation=o, precision=p)


def learner(batch_norm: bool = True, **parts: Any) -> Learner:
    chosen = settings(**parts)
    return Learner(Net(batch_norm), chosen.optimisation, chosen.precision, ALONE)


def data(steps: int) -> Batches:
    """Batches of noise on the colour of a class."""
    source = torch.Generator().manual_seed(1)
    labels = torch.randint(CLASSES, (steps, BATCH), generator=source)
    images = torch.randn(steps, BATCH, 3, SIDE, SIDE, generator=source) + 2 * torch.eye(3)[labels][..., None, None]
    return list(zip(images, labels, strict=True))


def poisoned(batch: tuple[Tensor, Tensor], value: float) -> tuple[Tensor, Tensor]:
    """With one pixel that is no finite number."""
    images = batch[0].clone()
    images[BATCH // 2, 1, 4, 4] = value
    return images, batch[1]


def train(trained: Learner, batches: Batches, first: int = 0) -> Tensor:
    """What each step sums, [steps, 4]."""
    return torch.stack([trained.step(*batch, RATE, first + k) for k, batch in enumerate(batches)])


def same(one: Any, other: Any) -> bool:
    """Bit by bit, through all that a state holds."""
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def state(trained: Learner) -> dict[str, Any]:
    return copy.deepcopy(trained.state())


def tensors(part: Any) -> Iterator[Tensor]:
    if isinstance(part, Tensor):
        yield part
    for inner in part.values() if isinstance(part, dict) else ():
        yield from tensors(inner)


def close(one: Any, other: Any, tolerance: float = 1e-12) -> bool:
    pairs = zip(tensors(one), tensors(other), strict=True)
    return all(torch.allclose(a, b, rtol=tolerance, atol=tolerance) for a, b in pairs)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # so little work is slower with more, most of all beside other programs
    yield
    torch.set_num_threads(before)


@pytest.fixture
def deterministic() -> Iterator[None]:
    """As in every training (`claim_device`); torch then also fills memory that nobody has written with NaN."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])


# --- a step ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_a_step_is_torch_s_own(optimiser: str) -> None:
    ours = learner(arithmetic="float64", optimiser=optimiser, weight_decay=0.01, momentum=0.8)
    theirs = Net().double()
    if optimiser == "adam":
        by: torch.optim.Optimizer = torch.optim.Adam(theirs.parameters(), weight_decay=0.01)
    else:
        by = torch.optim.SGD(theirs.parameters(), momentum=0.8, weight_decay=0.01)
    for k, (images, labels) in enumerate(data(10)):
        rate = RATE * (1 + k)
        loss, correct, n, left_out = ours.step(images, labels, rate, k).tolist()
        by.param_groups[0]["lr"] = rate
        by.zero_grad()
        logits = theirs(images.double())
        expected = cross_entropy(logits, labels)
        expected.backward()
        by.step()
        assert loss / n == pytest.approx(expected.item(), rel=1e-12)
        assert (correct, n, left_out) == ((logits.argmax(1) == labels).sum(), BATCH, 0)
    assert close(ours.network.state_dict(), theirs.state_dict())


@pytest.mark.parametrize("passes", [1, 4])
def test_steps_with_frozen_statistics_are_torch_s_own_in_evaluation_mode(passes: int) -> None:
    ours = learner(arithmetic="float64", optimiser="sgd", frozen=True, accumulate=passes, ema=0.9)
    ours.model.train()
    theirs = Net().double().eval()
    by = torch.optim.SGD(theirs.parameters(), momentum=0.9, weight_decay=1e-5)
    for images, labels in data(5):
        by.param_groups[0]["lr"] = RATE
        by.zero_grad()
        cross_entropy(theirs(images.double()), labels).backward()
        by.step()
    train(ours, data(5))
    assert close(ours.network.state_dict(), theirs.state_dict())
    assert not torch.equal(theirs.norm.weight, torch.ones(6)), "scale and shift learn"
    for network in (ours.network, ours.trained()):
        running = [network.state_dict()[f"norm.{name}"] for name in ("running_mean", "running_var")]
        assert torch.equal(running[0], torch.zeros(6)) and torch.equal(running[1], torch.ones(6))
        assert network.state_dict()["norm.num_batches_tracked"] == 0


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("extra", [{}, {"label_smoothing": 0.1, "ema": 0.7, "non_finite": "skip"}])
def test_passes_change_neither_losses_nor_weights(optimiser: str, batch_norm: bool, extra: dict[str, Any]) -> None:
    sharing = 2 if batch_norm else 0
    outcomes = []
    for passes in (1, 2, 4):
        trained = learner(
            batch_norm,
            arithmetic="float64",
            optimiser=optimiser,
            accumulate=passes,
            batch_norm_images=sharing,
            **extra,
        )
        sums = train(trained, data(10))
        outcomes.append(
            {"sums": sums, "network": trained.network.state_dict(), "trained": trained.trained().state_dict()}
        )
    assert all(close(outcome, outcomes[0]) for outcome in outcomes[1:])


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("arithmetic", ["float32", "bfloat16", "float16", "float64"])
def test_every_arithmetic_learns_and_keeps_precise_weights(arithmetic: str, optimiser: str) -> None:
    trained = learner(arithmetic=arithmetic, optimiser=optimiser)
    seen = set()
    trained.network.second.register_forward_hook(lambda _module, _inputs, features: seen.add(features.dtype))
    loss = train(trained, data(4) * 10)[:, 0] / BATCH
    assert loss[-4:].mean() < 0.5 * loss[:4].mean()
    assert seen == {getattr(torch, arithmetic)}
    weights = torch.float64 if arithmetic == "float64" else torch.float32
    assert {p.dtype for p in trained.network.parameters()} == {weights}
    moments = {t.dtype for name, t in _moments(trained) if name != "step"}
    assert moments == {weights}
    assert all(torch.isfinite(t).all() for t in tensors(trained.state()["model"]))


def _moments(trained: Learner) -> Iterator[tuple[str, Tensor]]:
    for of_parameter in trained.optimiser.state_dict()["state"].values():
        yield from of_parameter.items()


def test_bfloat16_images_train_bfloat16_networks_only() -> None:
    """The transform brings them so; where the network is not under autocast they become what its weights are."""
    images, labels = data(1)[0]
    for arithmetic in ("bfloat16", "float32", "float64"):
        loss, *_ = learner(arithmetic=arithmetic).step(images.bfloat16(), labels, RATE, 0).tolist()
        assert loss == pytest.approx(learner().step(images, labels, RATE, 0)[0].item(), rel=0.02)


def test_label_smoothing_spreads_a_share_of_each_label_over_all_classes() -> None:
    images, labels = data(1)[0]
    trained = learner(False, arithmetic="float64", label_smoothing=0.3)
    logs = trained.network(images.double()).log_softmax(1)
    by_hand = -(0.7 * logs[range(BATCH), labels] + 0.3 * logs.mean(1)).mean().item()
    loss = trained.step(images, labels, RATE, 0)[0].item() / BATCH
    assert loss == pytest.approx(by_hand, rel=1e-12)
    plain = learner(False, arithmetic="float64").step(images, labels, RATE, 0)[0].item() / BATCH
    assert plain == pytest.approx(-logs[range(BATCH), labels].mean().item(), rel=1e-12) and plain != loss


def test_what_is_published_is_the_moving_average_where_there_is_one() -> None:
    plain, averaged = learner(arithmetic="float64"), learner(arithmetic="float64", ema=0.8)
    assert plain.trained() is plain.network and averaged.trained() is not averaged.network
    expected = {name: weight.detach().clone() for name, weight in averaged.network.named_parameters()}
    for k, batch in enumerate(data(6)):
        train(plain, [batch], k)
        train(averaged, [batch], k)
        for name, weight in averaged.network.named_parameters():
            now = weight.detach().clone()
            expected[name] = 0.8 * expected[name] + 0.2 * now
    assert same(plain.network.state_dict(), averaged.network.state_dict()), "the average is looked at, not trained"
    assert close(dict(averaged.trained().named_parameters()), expected)
    # Not averaged: the statistics of batch norm are an average already, and the network's own.
    assert same(dict(averaged.trained().named_buffers()), dict(averaged.network.named_buffers()))
    assert averaged.trained().norm.num_batches_tracked == 6


def test_tf32_is_for_the_network_alone(tf32_flags: None) -> None:
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn

    def flags() -> tuple[bool, bool]:
        return products.allow_tf32, convolutions.allow_tf32

    inside = list[tuple[bool, bool]]()

    def watch(_module: nn.Module, _inputs: Any, logits: Tensor) -> None:
        inside.append(flags())
        logits.register_hook(lambda _: inside.append(flags()))

    for wanted in (False, True):
        for before in ((False, True), (True, False)):
            products.allow_tf32, convolutions.allow_tf32 = before
            trained = learner(tf32=wanted)
            trained.network.register_forward_hook(watch)
            inside.clear()
            train(trained, data(1))
            assert inside == [(wanted, wanted)] * 2 and flags() == before, "forwards and backwards"
            trained.network.register_forward_hook(_fail)
            with pytest.raises(ArithmeticError):
                train(trained, data(1))
            assert flags() == before


@pytest.fixture
def tf32_flags() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def _fail(*_: Any) -> None:
    raise ArithmeticError


@pytest.mark.parametrize(
    ("batch_norm", "optimisation", "words"),
    [
        (False, {"accumulate": 3}, "batch_size=8 cannot be shared evenly by 1 processes in 3 micro-batches"),
        (False, {"accumulate": 16}, "batch_size=8 cannot be shared evenly by 1 processes in 16 micro-batches"),
        (
            True,
            {"accumulate": 2},
            r"batch_norm_images=8 \(0: the whole batch\) does not fit",
        ),  # the whole batch, but it comes in two passes
        (True, {"batch_norm_images": 3}, "batch_norm_images=3"),
    ],
)
def test_a_batch_that_cannot_be_cut_is_refused_in_one_line(
    batch_norm: bool, optimisation: dict[str, int], words: str
) -> None:
    with pytest.raises(TrainingError, match=words) as refusal:
        learner(batch_norm, **optimisation)
    assert "optimisation.accumulate" in str(refusal.value) and "\n" not in str(refusal.value)


# --- steps that are no numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize(
    "parts",
    [
        {"arithmetic": "float32"},
        {"arithmetic": "bfloat16"},
        {"arithmetic": "float64", "accumulate": 2, "batch_norm_images": 4},
    ],
)
def test_a_bad_batch_that_is_skipped_leaves_no_trace_but_its_count(
    deterministic: None, value: float, optimiser: str, parts: dict[str, Any]
) -> None:
    good, bad = data(6), poisoned(data(7)[6], value)
    trained = learner(optimiser=optimiser, non_finite="skip", **parts)
    train(trained, good[:3])
    before = state(trained)
    assert trained.step(*bad, RATE, 3).tolist() == [0, 0, 0, BATCH]
    assert same(trained.state(), before)
    after = train(trained, good[3:], first=4)
    undisturbed = learner(optimiser=optimiser, non_finite="skip", **parts)
    assert same(train(undisturbed, good)[3:], after) and after[:, 3].sum() == 0
    assert same(trained.state(), undisturbed.state())
    assert isinstance(trained.network.norm, SharedBatchNorm), "torch's own would have taken the bad batch in"


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("arithmetic", ["float32", "float16"])
def test_the_very_first_batch_may_be_the_bad_one(deterministic: None, optimiser: str, arithmetic: str) -> None:
    good, bad = data(4), poisoned(data(1)[0], math.inf)
    parts = {"arithmetic": arithmetic, "optimiser": optimiser, "non_finite": "skip"}
    trained, undisturbed = learner(**parts), learner(**parts)
    assert train(trained, [bad]).tolist() == [[0, 0, 0, BATCH]]
    train(trained, good)
    train(undisturbed, good)
    assert all(torch.isfinite(t).all() for t in tensors(trained.state()["model"]))
    # In float16 the scale has fallen, by which the smallest gradients are rounded otherwise.
    assert close(trained.state()["model"], undisturbed.state()["model"], 0 if arithmetic == "float32" else 1e-4)


@pytest.mark.parametrize("k", [0, 3])
def test_a_bad_batch_that_is_skipped_does_not_move_the_average(k: int) -> None:
    good, bad = data(6), poisoned(data(7)[6], math.inf)
    trained, undisturbed = (learner(ema=0.8, non_finite="skip") for _ in range(2))
    train(trained, [*good[:k], bad, *good[k:]])
    train(undisturbed, good)
    assert same(trained.network.state_dict(), undisturbed.network.state_dict())
    assert same(trained.trained().state_dict(), undisturbed.trained().state_dict())


@pytest.mark.parametrize("non_finite", ["stop", "skip"])
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_float16_leaves_out_steps_whose_gradients_overflow_until_the_scale_has_fallen(
    deterministic: None, optimiser: str, non_finite: str
) -> None:
    trained = learner(arithmetic="float16", optimiser=optimiser, non_finite=non_finite)
    train(trained, data(1))
    high = state(trained)
    high["scaler"]["scale"] = 2.0**34
    trained.load(high)
    before = state(trained)
    assert trained.step(*data(1)[0], RATE, 1).tolist() == [0, 0, 0, BATCH]
    after = state(trained)
    assert (after["scaler"].pop("scale"), after["scaler"].pop("_growth_tracker")) == (2.0**33, 0)
    assert all(same(after[part], before[part]) for part in ("model", "optimiser"))
    sums = train(trained, data(4) * 10, first=2)
    left_out = sums[:, 3] > 0
    assert left_out[0] and not left_out[-10:].any() and trained.scaler and trained.scaler.get_scale() < 2.0**32
    assert sums[-4:, 0].mean() < 0.5 * sums[~left_out][:4, 0].mean()
    assert trained.first_bad == -1, "gradients that overflow are no fault of the loss"


@pytest.mark.parametrize("arithmetic", ["float32", "bfloat16", "float16", "float64"])
@pytest.mark.parametrize("passes", [1, 2])
def test_where_a_bad_loss_is_to_end_the_run_the_first_one_is_named(arithmetic: str, passes: int) -> None:
    batches = list(data(6))
    batches[2] = poisoned(batches[2], math.nan)  # in the second of two passes
    batches[4] = poisoned(batches[4], math.inf)
    trained = learner(arithmetic=arithmetic, accumulate=passes, batch_norm_images=BATCH // passes)
    train(trained, batches[:2], first=10)
    assert trained.first_bad == -1
    train(trained, batches[2:], first=12)
    assert trained.first_bad == 12


# --- a state --------------------------------------------------------------------------------------------------------


def stored(begun: Learner) -> dict[str, Any]:
    """Its state as it comes out of a checkpoint."""
    file = io.BytesIO()
    torch.save(begun.state(), file)
    file.seek(0)
    return torch.load(file, map_location="cpu", weights_only=True)


@pytest.mark.parametrize(
    "parts",
    [
        {"arithmetic": "float32", "optimiser": "adam"},
        {"arithmetic": "float32", "optimiser": "sgd", "batch_norm_images": 4},
        {"arithmetic": "bfloat16", "optimiser": "adam", "accumulate": 2, "batch_norm_images": 2, "ema": 0.9},
        {"arithmetic": "bfloat16", "optimiser": "sgd", "non_finite": "skip"},
        {"arithmetic": "float16", "optimiser": "adam", "ema": 0.5, "label_smoothing": 0.1},
        {"arithmetic": "float16", "optimiser": "sgd", "momentum": 0.0, "accumulate": 4, "batch_norm_images": 1},
        {"arithmetic": "float64", "optimiser": "adam", "ema": 0.99},
        {"arithmetic": "bfloat16", "optimiser": "sgd", "frozen": True, "accumulate": 2, "ema": 0.9},
    ],
    ids=lambda parts: "-".join(str(part) for part in parts.values()),
)
@pytest.mark.parametrize("k", [1, 5])
def test_another_learner_goes_on_from_a_checkpoint_to_the_same_bits(
    deterministic: None, k: int, parts: dict[str, Any]
) -> None:
    batches = data(10)
    whole, begun, resumed = (learner(**parts) for _ in range(3))
    sums = train(whole, batches)
    train(begun, batches[:k])
    train(resumed, data(3)[2:])  # whatever it has learnt before is gone
    resumed.load(stored(begun))
    assert same(resumed.state(), begun.state())
    assert same(train(resumed, batches[k:], first=k), sums[k:])
    assert same(resumed.state(), whole.state())
    assert same(resumed.trained().state_dict(), whole.trained().state_dict())


def test_a_state_is_taken_before_the_first_step_too() -> None:
    for parts in ({"arithmetic": "float16"}, {"optimiser": "sgd", "ema": 0.9}):
        whole, resumed = learner(**parts), learner(**parts)
        resumed.load(stored(whole))
        assert same(train(resumed, data(3)), train(whole, data(3))) and same(resumed.state(), whole.state())


# --- compiled -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("norm", [{"batch_norm_images": 2}, {"frozen": True}], ids=["shared", "frozen"])
def test_a_compiled_network_learns_as_the_plain_one(norm: dict[str, Any]) -> None:
    plain, compiled = (learner(arithmetic="float64", accumulate=2, ema=0.9, compiled=c, **norm) for c in (False, True))
    sums = [train(trained, data(5)) for trained in (plain, compiled)]
    assert close(sums[0], sums[1], 1e-9)
    assert close(plain.state(), compiled.state(), 1e-9)
    assert list(plain.state()["model"]) == list(compiled.state()["model"]), "names without the compiler's prefix"
    assert list(plain.trained().state_dict()) == list(compiled.trained().state_dict())
