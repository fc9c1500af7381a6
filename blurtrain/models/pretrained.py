"""Weights to begin with, from a file of one's own, which must be the file that the settings mean and fit exactly."""

import difflib
import hashlib
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from blurtrain.errors import DataError, some_of
from blurtrain.models.antialias import BlurPool
from blurtrain.models.blur_type import BlurType
from blurtrain.models.encoder import alike, encoder_in
from blurtrain.models.records import record_of
from blurtrain.models.segmentation import MapNetwork
from blurtrain.parts import is_part_name
from blurtrain.settings import Pretrained

log = logging.getLogger(__name__)

WRAPPERS = ("module.", "_orig_mod.", "model.")
"""What names begin with that were saved from within DistributedDataParallel, torch.compile, Lightning."""
SHOWN = 3
"""So many names of tensors that do not fit are shown."""


def load_pretrained(model: nn.Module, settings: Pretrained) -> list[str]:
    """Give `model` the tensors of a file, in its own dtypes; returns the names of those that are not from the file.
    Of blur-type, a file may hold the backbone alone.

    These are either none or the tensors of the last linear or convolutional layer (of all heads, where there are
    several), where file and network have different numbers of classes; they stay as they were drawn, or are zero where
    `settings.last_layer` says so. Any other difference of names or shapes, values that are not finite, a file that
    cannot be read or holds more than tensors, and another SHA-256 raise DataError. A network for masks takes the
    weights of a classifier into its encoder.
    """
    if isinstance(model, MapNetwork):
        return _load_maps(model, settings)
    return _load_all(model, settings, _read(settings))


def _load_maps(model: MapNetwork, settings: Pretrained) -> list[str]:
    """`load_pretrained` of a network for masks: from the weights of such a network as from any others; from those of a
    classifier its encoder, and the names of all else are returned. What is loaded, and left alone, is logged."""
    stored = _without_wrappers(_read(settings), model.network.state_dict())
    if {name.partition(".")[0] for name in model.network.state_dict()} == {n.partition(".")[0] for n in stored}:
        return [f"network.{name}" for name in _load_all(model.network, settings, stored)]
    if settings.head == "kept":
        raise DataError(f"{settings.source}: network.pretrained.head=kept wants weights of the whole network, not of a "
                        "part of it: leave it out")  # fmt: skip
    part = encoder_in(model, stored)
    if part is None:
        raise DataError(
            f"{settings.source} does not fit the network: no part of it has the names and shapes of the file's tensors "
            f"({', '.join([*stored][:SHOWN])}, ...); choose the encoder that the file is of (network.arguments)"
        )
    _check_finite(settings, part.tensors)
    model.load_state_dict({**model.state_dict(), **part.tensors})
    left = ", ".join(part.left) or "none"
    log.info("%s: %d tensors go into %s; left alone: %s", settings.source, len(part.tensors), part.path, left)
    return _in_few_words([name for name in model.state_dict() if name not in part.tensors], part.path)


def _in_few_words(names: Sequence[str], path: str) -> list[str]:
    """Names of tensors that are not below `path`, each cut where it leaves that."""
    apart = path.split(".")
    cut: dict[str, None] = {}
    for name in names:
        parts = name.split(".")
        common = next((k for k, (a, b) in enumerate(zip(apart, parts, strict=False)) if a != b), len(apart))
        if common < len(apart):
            cut[".".join(parts[: common + 1])] = None
    return [*cut]


def _load_all(model: nn.Module, settings: Pretrained, stored: dict[str, Tensor]) -> list[str]:
    """See `load_pretrained`."""
    own = model.state_dict()
    stored = _without_wrappers(stored, own)
    beside = model.beside(stored) if isinstance(model, BlurType) else []
    if isinstance(model, BlurType) and beside:
        stored = model.completed(stored)
    # Old files lack the counters of batch norm, which no network of ours makes use of; plain ones lack learnt filters.
    filters = {f"{name}.sizes" for name, module in model.named_modules() if isinstance(module, BlurPool)}
    missing = [n for n in own if n not in stored and n not in filters and not n.endswith("num_batches_tracked")]
    unexpected = [name for name in stored if name not in own]
    different = [name for name in own if name in stored and not alike(stored[name], own[name])]
    fresh = different if _only_classes_differ(model, stored, different) else []
    if fresh and settings.head == "kept":
        raise DataError(
            f"{settings.source} has {len(stored[fresh[0]])} outputs, but network.pretrained.head=kept is of "
            f"{len(own[fresh[0]])}: name them all, in their order, by network.pretrained.classes"
        )
    if misfits := _misfits(stored, own, missing, unexpected, [] if fresh else different):
        raise DataError(f"{settings.source} does not fit the network{misfits}")
    _check_finite(settings, stored)
    if settings.last_layer == "zero":
        for name in fresh:
            own[name].zero_()
    model.load_state_dict({**own, **{name: tensor for name, tensor in stored.items() if name not in fresh}})
    return [*beside, *fresh]


def _check_finite(settings: Pretrained, stored: Mapping[str, Tensor]) -> None:
    for name, tensor in stored.items():
        if bad := int((~tensor.isfinite()).sum()):
            raise DataError(f"{settings.source}: {bad} of {tensor.numel()} values of {name} are NaN or inf")


def _misfits(
    stored: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    missing: Sequence[str],
    unexpected: Sequence[str],
    different: Sequence[str],
) -> str:
    """What does not fit, with the names on the other side that come nearest; empty: all fits."""
    lacks = [_with_nearest(name, own[name], {n: stored[n] for n in unexpected}) for name in missing[:SHOWN]]
    has = [_with_nearest(name, stored[name], {n: own[n] for n in missing}) for name in unexpected[:SHOWN]]
    has = [] if lacks and has and len(missing) == len(unexpected) else has  # the same pairs, seen from the other side
    others = [f"{name} as {_form(stored[name])} for {_form(own[name])}" for name in different[:SHOWN]]
    return "".join(
        f"; it {verb} {some_of([*shown, *names[len(shown) :]], SHOWN)}"
        for verb, shown, names in (("lacks", lacks, missing), ("has", has, unexpected), ("has", others, different))
        if shown
    )


def _with_nearest(name: str, tensor: Tensor, others: Mapping[str, Tensor]) -> str:
    alike = [other for other, stored in others.items() if stored.shape == tensor.shape]
    near = difflib.get_close_matches(name, alike or list(others), n=1, cutoff=0.3)
    return f"{name} ({_form(tensor)}; nearest there: {near[0]}, {_form(others[near[0]])})" if near else name


def _read(settings: Pretrained) -> dict[str, Tensor]:
    """What the file holds."""
    path = record_of(settings.published).cached() if settings.published else Path(str(settings.file))
    return tensors_of(path, settings.sha256, "network.pretrained", any_name=settings.published is not None)


def tensors_of(path: Path, sha256: str | None, section: str, any_name: bool = False) -> dict[str, Tensor]:
    """The tensors of a file by name, whose SHA-256 has to be this; section: of the settings that name it.

    any_name: not only .safetensors, .pt and .pth. Raises DataError, one line, where it cannot be read.
    """
    if not any_name and path.suffix not in (".safetensors", ".pt", ".pth"):
        raise DataError(f"{section}.file={path}: must be a .safetensors, .pt or .pth file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{section}.file={path} cannot be read: {error.strerror}") from error
    found = hashlib.sha256(content).hexdigest()
    if sha256 not in (None, found):
        raise DataError(f"{path} has the SHA-256 {found}, not {section}.sha256={sha256}")
    try:
        if path.suffix == ".safetensors":
            stored = safetensors.torch.load(content)
        else:
            stored = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in many ways
        raise DataError(
            f"{path} cannot be read as tensors alone ({type(error).__name__}); nothing else is unpickled: write it "
            "by safetensors.torch.save_file or torch.save(model.state_dict(), FILE)"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(stored, Mapping) and isinstance(stored.get(key), Mapping):
            stored = stored[key]
            break
    if not isinstance(stored, Mapping) or not all(isinstance(tensor, Tensor) for tensor in stored.values()):
        raise DataError(f"{path} holds no state dict (tensors by name), neither on top nor as state_dict or model")
    return dict(stored)


def _without_wrappers(stored: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`stored` by the names that a network gives that nothing is wrapped around."""
    while prefix := next((p for p in WRAPPERS if stored and all(name.startswith(p) for name in stored)), ""):
        if all(name.startswith(prefix) for name in own):  # the network's own module of this name
            break
        stored = {name.removeprefix(prefix): tensor for name, tensor in stored.items()}
    return stored


def _only_classes_differ(model: nn.Module, stored: Mapping[str, Tensor], different: Sequence[str]) -> bool:
    """Whether `different` are all tensors of the layer that gives the logits, and of further heads of as many outputs,
    stored for another number of classes."""
    path, last = logits_layer(model)
    if last is None:
        return False
    heads = [(name, layer) for name, layer in model.named_modules() if _outputs(layer) == _outputs(last)]
    own = {
        f"{name}.{part}".lstrip("."): tensor
        for name, layer in heads
        if name == path or any(other.startswith(f"{name}.") for other in different)
        for part, tensor in layer.state_dict().items()
    }
    return (
        sorted(own) == sorted(different)
        and all(stored[name].shape[1:] == tensor.shape[1:] for name, tensor in own.items())
        and len({stored[name].shape[:1] for name in own}) == 1
    )


def _outputs(layer: nn.Module) -> int | None:
    """Of a linear or convolutional layer."""
    if isinstance(layer, nn.Linear):
        return layer.out_features
    return layer.out_channels if isinstance(layer, nn.Conv2d) else None


def logits_layer(model: nn.Module) -> tuple[str, nn.Module | None]:
    """Path and module of the last linear or convolutional layer, which is taken for the one that gives the logits."""
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    return layers[-1] if layers else ("", None)


def usual_normalisation(name: str) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation, of pixels in 0..1, that the weights published with timm or torchvision want.

    None where there are none. A file from elsewhere may want others all the same.
    """
    said = {} if is_part_name(name) or name == "blur-type" else record_of(name).preprocessing
    return (list(said["mean"]), list(said["sd"])) if "mean" in said else None


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
