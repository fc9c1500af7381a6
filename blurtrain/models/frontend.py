"""A network behind one that restores the images it is shown, as one network."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from blurtrain.deblurring.residual_unet import ResidualUNet
from blurtrain.errors import DataError
from blurtrain.models.pretrained import tensors_of
from blurtrain.settings import Frontend


class WithFrontend(nn.Module):
    """Normalised images [N, 3, H, W] to what `network` makes of them once they are restored.

    `frontend` takes and gives pixels of 0..1; `mean` and `sd`, by which images are normalised, are kept with the
    weights (0 and 1 until `normalise_by`). In training mode the gradient of what lies behind is multiplied by
    `settings.task` before it reaches the front-end; `image` is its setting, for whoever trains it.
    """

    mean: Tensor
    sd: Tensor

    def __init__(self, network: nn.Module, settings: Frontend):
        super().__init__()
        self.frontend = ResidualUNet(settings.width, settings.depth).requires_grad_(settings.learnt)
        self.network = network
        self.task, self.image = settings.task, settings.image
        self.register_buffer("mean", torch.zeros(3, 1, 1))
        self.register_buffer("sd", torch.ones(3, 1, 1))

    def normalise_by(self, mean: Sequence[float], sd: Sequence[float]) -> None:
        """From now on, images are taken to be normalised by these, one a channel."""
        for own, values in ((self.mean, mean), (self.sd, sd)):
            own.copy_(torch.tensor(values).view(3, 1, 1))

    def pixels(self, images: Tensor) -> Tensor:
        """Of 0..1, of normalised images [N, 3, H, W]."""
        return images * self.sd + self.mean

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        restored = (self.frontend(self.pixels(images)) - self.mean) / self.sd
        if self.training and self.task != 1:
            kept = restored.detach()
            restored = kept + self.task * (restored - kept) if self.task else kept
        outputs: Tensor = self.network(restored)
        return outputs

    def watch(self, keep: Callable[[Tensor], None]) -> None:
        """Have `keep` called with what the front-end gives: pixels [N, 3, H, W]."""
        self.frontend.register_forward_hook(lambda _, __, output: keep(output))


def behind_frontend(network: nn.Module) -> nn.Module:
    """The network that sees restored images; without a front-end the network itself."""
    return network.network if isinstance(network, WithFrontend) else network


def load_frontend(network: WithFrontend, settings: Frontend) -> None:
    """Give the front-end its weights from `settings.file`. Raises DataError, one line, where that cannot be read, is
    another file, or of another network."""
    path = Path(str(settings.file))
    stored = tensors_of(path, settings.sha256, "network.frontend")
    own = {name: tensor.shape for name, tensor in network.frontend.state_dict().items()}
    if {name: tensor.shape for name, tensor in stored.items()} != own:
        raise DataError(
            f"network.frontend.file={path}: holds no weights of a residual-unet of width={settings.width} and "
            f"depth={settings.depth}: take weights.safetensors of a run for task=restoration, and its width and depth"
        )
    if not all(bool(tensor.isfinite().all()) for tensor in stored.values()):
        raise DataError(f"network.frontend.file={path}: has values that are NaN or inf")
    network.frontend.load_state_dict(stored)
