"""How images are normalised for published weights: as their own record says, and in no other way."""

from blurtrain.errors import SettingsError
from blurtrain.models.records import record_of
from blurtrain.settings import Settings


def as_published(settings: Settings) -> Settings:
    """The settings with `data.mean` and `data.sd` of the record, where the network begins with published weights.

    Whoever shows images to the network of a run asks for these; they are not what is written, or what the id is of.
    Raises SettingsError where the settings say others.
    """
    pretrained = settings.network.pretrained
    if pretrained is None or pretrained.published is None:
        return settings
    said = record_of(pretrained.published).preprocessing
    for name in ("mean", "sd"):
        own, published = getattr(settings.data, name), said.get(name)
        if published is None and own is None:
            raise SettingsError(f"data.{name}: the record of {pretrained.published} does not say it: give it here")
        if own and published and any(abs(a - b) > 1e-6 for a, b in zip(own, published, strict=True)):
            raise SettingsError(
                f"data.{name}={_triple(own)} is not what network.pretrained.published={pretrained.published} was "
                f"trained with, {_triple(published)}: leave it out"
            )
    normalisation = {name: getattr(settings.data, name) or said[name] for name in ("mean", "sd")}
    return settings.model_copy(update={"data": settings.data.model_copy(update=normalisation)})


def remarks(settings: Settings) -> tuple[str, str]:
    """What is to be logged, and what to be warned of, before training begins with pretrained weights; empty: nothing.

    `settings`: as `as_published` gives them.
    """
    pretrained, data = settings.network.pretrained, settings.data
    if pretrained is None:
        return "", ""
    if pretrained.published is None:
        lacking = [f"data.{name}" for name in ("mean", "sd") if getattr(data, name) is None]
        warning = (
            f"{' and '.join(lacking)} as measured on the training split, as the settings say nothing: weights of a "
            "file want the normalisation that they were trained with"
        )
        return "", warning if lacking else ""
    said = record_of(pretrained.published).preprocessing
    return (
        f"{pretrained.published}: published for images of {said.get('crop')} px out of {said.get('resize')}, "
        f"{said.get('interpolation', 'unsaid')} interpolation; here {data.resolution} px, in evaluation bilinear; "
        f"mean {_triple(data.mean)}, sd {_triple(data.sd)}, as published",
        "",
    )


def _triple(values: tuple[float, ...] | None) -> str:
    return "[" + ", ".join(f"{v:.4g}" for v in values or ()) + "]"
