"""What a run has to keep that starts from another run's checkpoint (settings `start`)."""

from typing import Any

from blurtrain.settings.identity import identifying
from blurtrain.settings.run import Settings

KEPT = ("data", "network.architecture", "network.arguments", "network.pretrained", "network.frontend", "task",
        "optimisation.optimiser", "optimisation.batch_norm", "precision.arithmetic")  # fmt: skip
"""Settings, or whole sections, without which the state of one run means nothing to another; and whether weights are
averaged (optimisation.ema)."""


def unlike(before: Settings, now: Settings) -> dict[str, tuple[Any, Any]]:
    """The settings that would have to be kept and are not, by dotted name, as they were and are now."""
    old, new = identifying(before), identifying(now)
    found = {
        name: (old.get(name), new.get(name))
        for name in dict.fromkeys([*new, *old])
        if any(name == part or name.startswith(f"{part}.") for part in KEPT) and old.get(name) != new.get(name)
    }
    averages = before.optimisation.ema, now.optimisation.ema
    return found | ({"optimisation.ema": averages} if bool(averages[0]) != bool(averages[1]) else {})
