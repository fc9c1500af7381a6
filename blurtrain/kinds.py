"""Sections of which there are several kinds, each a class that holds the settings and does what they say."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from blurtrain.documents import KIND_KEYS
from blurtrain.errors import SettingsError, nearest
from blurtrain.parts import import_part, is_part_name
from blurtrain.schema import Section


class Kind(Section):
    """The base of such classes, for example of all curricula.

    In a settings file the key `discriminator` names the kind: one of `kinds`, or a class of the user's own as
    `package.module:Name`, derived from the same base. A field takes any of them where it is declared as
    `SerializeAsAny[Base]`. Errors name the key, and the nearest kind there is.
    """

    discriminator: ClassVar[str]
    kinds: ClassVar[dict[str, type[Any]]]
    """The built-in kinds by name; only the base itself has it set."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "discriminator" in cls.__dict__:
            KIND_KEYS.add(cls.discriminator)

    @classmethod
    def kind_of(cls, document: Any) -> type[Section]:
        """The class that `document`, a mapping, is read as; the base itself where its kind is missing or unknown."""
        try:
            return cls._kind(document) if isinstance(document, Mapping) and _is_base(cls) else cls
        except ValidationError:
            return cls

    @classmethod
    def _kind(cls, document: Mapping[str, Any]) -> type[Self]:
        name = document.get(cls.discriminator)
        if cls.discriminator not in document:
            raise cls._error("missing", name)
        if isinstance(name, str) and is_part_name(name):
            try:
                own: type[Self] = import_part(name, cls.__name__.lower(), cls)
            except SettingsError as error:
                raise cls._error(PydanticCustomError("unknown_kind", _literal(str(error))), name) from None
            return own
        if not isinstance(name, str) or name not in cls.kinds:
            known = nearest(str(name), cls.kinds)
            why = f"{name!r} is unknown; {known}, or a class of your own as package.module:Name"
            raise cls._error(PydanticCustomError("unknown_kind", _literal(why)), name)
        return cls.kinds[name]

    @classmethod
    def _error(cls, kind: Any, given: Any) -> ValidationError:
        where = (cls.discriminator,)
        return ValidationError.from_exception_data(cls.__name__, [{"type": kind, "loc": where, "input": given}])

    @model_validator(mode="wrap")
    @classmethod
    def _of_its_kind(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not _is_base(cls) or not isinstance(value, Mapping):
            return value if isinstance(value, cls) and _is_base(cls) else handler(value)
        return cls._kind(value).model_validate(value)


def _is_base(cls: type[Kind]) -> bool:
    return "kinds" in cls.__dict__


def _literal(text: str) -> Any:
    """A message as pydantic takes one: its braces are no placeholders."""
    return text.replace("{", "{{").replace("}", "}}")
