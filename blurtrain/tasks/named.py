"""Kinds that their bare name stands for, too: `loss: cross-entropy` is `loss: {type: cross-entropy}`."""

from typing import Any, ClassVar

from pydantic import model_validator

from blurtrain.kinds import Kind


class Named(Kind):
    """A kind by its `type`."""

    discriminator: ClassVar[str] = "type"

    @model_validator(mode="wrap")
    @classmethod
    def _by_its_name(cls, value: Any, handler: Any) -> Any:
        return handler({"type": value} if isinstance(value, str) else value)
