import torch

from blurtrain.models import SMALLEST_INPUT, build


def test_alexnet_sup_is_the_study_s() -> None:
    model = build("alexnet-sup", 12)
    features = sum(p.numel() for p in model.features.parameters())  # type: ignore[operator,union-attr]
    assert features == 2_469_696
    assert [tuple(p.shape) for p in model.classifier.parameters()] == [(12, 9216), (12,)]  # type: ignore[union-attr]
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        else:  # Xavier-uniform: bounded by sqrt(6 / (fan in + fan out))
            fan = parameter[0].numel() + parameter.shape[0] * parameter[0, 0].numel() if parameter.ndim > 1 else 0
            bound = (6 / fan) ** 0.5
            assert 0.98 * bound < parameter.abs().max() <= bound, name


def test_networks_take_their_smallest_input() -> None:
    for architecture, side in SMALLEST_INPUT.items():
        logits = build(architecture, 7)(torch.zeros(2, 3, side, side))
        assert logits.shape == (2, 7), architecture


def test_initialisation_is_drawn_from_torchs_seed() -> None:
    def first(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return next(build("alexnet-sup", 3).parameters())

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))
