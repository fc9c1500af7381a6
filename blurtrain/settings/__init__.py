"""A run's settings: its sections, how they are composed from files, and which of them make it another run."""

from blurtrain.settings.augmentation import Augmentation, Scaled
from blurtrain.settings.composition import (
    PRESETS,
    check_levels,
    compose,
    dump,
    load,
    load_resolved,
    model_name,
    preset_file,
)
from blurtrain.settings.identity import identifying, run_id, run_ids, settings_id
from blurtrain.settings.network import (
    ARCHITECTURES,
    DEFAULT_MODEL,
    SEGMENTATION,
    Antialias,
    Frontend,
    Network,
    Pretrained,
)
from blurtrain.settings.own import part_names
from blurtrain.settings.protocol import Protocol
from blurtrain.settings.run import Settings
from blurtrain.settings.sections import (
    BlurUnits,
    Checkpoints,
    Data,
    EarlyStopping,
    Evaluation,
    Loader,
    Logging,
    Optimisation,
    ParameterGroup,
    Precision,
    Start,
    Validation,
)

__all__ = [
    "ARCHITECTURES",
    "DEFAULT_MODEL",
    "PRESETS",
    "SEGMENTATION",
    "Antialias",
    "Augmentation",
    "BlurUnits",
    "Checkpoints",
    "Data",
    "EarlyStopping",
    "Evaluation",
    "Frontend",
    "Loader",
    "Logging",
    "Network",
    "Optimisation",
    "ParameterGroup",
    "Precision",
    "Pretrained",
    "Protocol",
    "Scaled",
    "Settings",
    "Start",
    "Validation",
    "check_levels",
    "compose",
    "dump",
    "identifying",
    "load",
    "load_resolved",
    "model_name",
    "part_names",
    "preset_file",
    "run_id",
    "run_ids",
    "settings_id",
]
