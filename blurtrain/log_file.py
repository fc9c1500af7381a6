"""The log of an attempt: what blurtrain's loggers say, in a file beside wherever else the process sends it."""

import logging
from pathlib import Path

_LOGGER = logging.getLogger("blurtrain")
_files = list[logging.Handler]()
_level_before = logging.NOTSET


class LogFile(logging.FileHandler):
    """All messages of blurtrain from INFO on, until it is closed. The loggers' level is then what it was before."""

    def __init__(self, path: Path):
        super().__init__(path)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        global _level_before
        if not _files:
            _level_before = _LOGGER.level
            _LOGGER.setLevel(min(_LOGGER.getEffectiveLevel(), logging.INFO))
        _files.append(self)
        _LOGGER.addHandler(self)

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: a full disk is not worth a traceback for each message."""

    def close(self) -> None:
        """Take no more messages; may be called again."""
        if self in _files:
            _files.remove(self)
            _LOGGER.removeHandler(self)
            if not _files:
                _LOGGER.setLevel(_level_before)
        super().close()
