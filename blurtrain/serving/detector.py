"""A detector as `blurtrain export` wrote it: photos in, probabilities out, on the processor and without torch."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from blurtrain.data.preprocessing import Preprocessing
from blurtrain.errors import BlurtrainError, DataError, SettingsError
from blurtrain.serving.photos import MEGAPIXELS, photo

SHARP = "sharp"
"""The class that is no blur, so that it cannot be asked for."""


class Sidecar(BaseModel):
    """What stands beside an exported network, as far as it is needed here."""

    classes: list[str] = Field(min_length=1)
    preprocessing: Preprocessing
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)
    origin: str = ""
    sha256: str | None = None


@dataclass(frozen=True)
class Detected:
    """The answer for one type of blur; detected: it is the most probable class, whatever its probability."""

    detected: bool
    confidence: float
    """Probability of the most probable class, whichever that is."""
    blur_type_probability: float
    """Of the type asked for. Both are calibrated as the sidecar says."""


@dataclass(frozen=True)
class Probabilities:
    """The answer where no type was asked for: of each class, in their order; they sum to 1."""

    probabilities: dict[str, float]


Answer = Detected | Probabilities


class Detector:
    """An exported network with the way that photos are shown to it. Its methods may be called by several threads."""

    def __init__(self, file: str | Path, megapixels: float = MEGAPIXELS) -> None:
        """file: FILE.onnx, with FILE.onnx.json beside it. megapixels: of the largest photo that is decoded.

        Raises DataError where one of them is missing, damaged, or not of the other; BlurtrainError without onnxruntime.
        """
        path = Path(file)
        about, content = _read(path)
        self.classes, self.origin = tuple(about.classes), about.origin
        self.preprocessing, self.temperature = about.preprocessing, about.temperature
        self.model = hashlib.sha256(content).hexdigest()[:16]
        """Which one it is."""
        self.megapixels = megapixels
        self._quick, self._narrow = _session(path, content, 0), _session(path, content, 1)
        self._check(path)

    @property
    def selectable(self) -> tuple[str, ...]:
        """The types of blur that can be asked for: all classes but `sharp`."""
        return tuple(name for name in self.classes if name != SHARP)

    def check_blur_type(self, blur_type: str | None) -> None:
        """Raise SettingsError, naming what can be asked for, unless it is one of them, or None."""
        if blur_type is not None and blur_type not in self.selectable:
            why = "is no blur" if blur_type == SHARP else "is not known"
            raise SettingsError(f"blur_type {blur_type[:60]!r} {why}: ask for one of {', '.join(self.selectable)}")

    def classify(self, content: bytes, blur_type: str | None = None, *, one_core: bool = False) -> Answer:
        """The answer for a photo, given as its file; for one type of blur, or of all classes.

        one_core: the network runs on the caller's core alone, which is best where several photos are looked at side by
        side. Raises DataError where the photo cannot be decoded (see `photo`), SettingsError for an unknown type.
        """
        self.check_blur_type(blur_type)
        shown = self.preprocessing.input(photo(content, self.megapixels))
        return self.answer(self.probabilities(shown[None], one_core=one_core)[0], blur_type)

    def answer(self, probabilities: Sequence[float] | NDArray[np.float32], blur_type: str | None) -> Answer:
        """What probabilities [classes] say."""
        values = [float(value) for value in probabilities]
        if blur_type is None:
            return Probabilities(dict(zip(self.classes, values, strict=True)))
        asked = values[self.classes.index(blur_type)]
        return Detected(detected=int(np.argmax(values)) == self.classes.index(blur_type), confidence=max(values),
                        blur_type_probability=asked)  # fmt: skip

    def probabilities(self, shown: NDArray[np.float32], *, one_core: bool = False) -> NDArray[np.float32]:
        """[N, classes] of images [N, 3, S, S] as the network takes them; raises DataError where they are not finite."""
        session = self._narrow if one_core else self._quick
        logits = session.run(None, {session.get_inputs()[0].name: shown})[0] / np.float32(self.temperature)
        raised = np.exp(logits - logits.max(1, keepdims=True))
        found: NDArray[np.float32] = raised / raised.sum(1, keepdims=True)
        if not np.isfinite(found).all():
            raise DataError("the network gives NaN or inf for it")
        return found

    def _check(self, path: Path) -> None:
        side = self.preprocessing.crop
        shown = np.zeros((1, 3, side, side), np.float32)
        try:
            found = self._quick.run(None, {self._quick.get_inputs()[0].name: shown})[0].shape
        except Exception as error:
            raise DataError(
                f"{path}: does not take images of {side} px, as {path.name}.json says: {_line(error)}"
            ) from None
        if found != (1, len(self.classes)):
            raise DataError(
                f"{path}: gives {found} for one image, but {path.name}.json names {len(self.classes)} classes"
            )


def _read(path: Path) -> tuple[Sidecar, bytes]:
    beside = path.with_name(f"{path.name}.json")
    try:
        content, text = path.read_bytes(), beside.read_bytes()
        about = Sidecar.model_validate(json.loads(text))
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}; `blurtrain export` writes both") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{beside}: {where}: {first['msg']}; `blurtrain export` writes it") from None
    except ValueError as error:
        raise DataError(f"{beside}: is no JSON: {error}; `blurtrain export` writes it") from None
    if about.sha256 is not None and hashlib.sha256(content).hexdigest() != about.sha256:
        raise DataError(f"{path}: is damaged, or not the network that {beside.name} is of: export it again")
    return about, content


def _session(path: Path, content: bytes, threads: int) -> Any:
    """threads: 0 for all cores of this process."""
    try:
        import onnxruntime
    except ImportError:
        raise BlurtrainError("onnxruntime is not installed: pip install 'blurtrain[serve]'") from None
    from blurtrain.serving.pool import cores

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or cores()
    options.inter_op_num_threads = 1
    # Threads that wait by spinning would take the cores from those that decode.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise DataError(f"{path}: is no network that ONNX Runtime can load: {_line(error)}") from None


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
