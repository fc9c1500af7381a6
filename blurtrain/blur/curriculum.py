"""Sigma as a pure function of how far the training is. Sigmas are in pixels at the reference resolution."""

from blurtrain.settings import ConstantBlur, StepwiseBlur


def sigma_at(curriculum: ConstantBlur | StepwiseBlur, epoch: int, epochs: int) -> float:
    """Blur of epoch `epoch` (0-based) out of `epochs`.

    Stepwise: levels share the epochs equally, as the study's 100 epochs are shared by 8, 4, 2, 1, 0.
    """
    if not 0 <= epoch < epochs:
        raise ValueError(f"epoch {epoch} is not among {epochs} epochs")
    if isinstance(curriculum, ConstantBlur):
        return curriculum.sigma
    return curriculum.sigmas[epoch * len(curriculum.sigmas) // epochs]


def scaled(sigma: float, resolution: int, reference_resolution: int) -> float:
    """A sigma given at `reference_resolution`, in pixels at `resolution`: the same share of the image."""
    return sigma * resolution / reference_resolution
