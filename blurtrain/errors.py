"""The errors a user can mend. The command line prints each as one line and exits with 2 (REQUEUE for `Stopped`);
anything else is a bug."""

import difflib
from collections.abc import Iterable, Sequence


class BlurtrainError(Exception):
    """Base of all errors whose message says what is wrong, where, and what to do."""


class SettingsError(BlurtrainError):
    """A settings or grid file, or an override, that cannot be used as it stands."""


class DataError(BlurtrainError):
    """Images or a prepared dataset that cannot be used as they stand."""


class RunError(BlurtrainError):
    """A run directory that cannot be used as it stands."""


class TrainingError(BlurtrainError):
    """A training that cannot go on."""


REQUEUE = 75
"""Exit code of a process that was asked to stop and has saved all: start it again (EX_TEMPFAIL of sysexits.h)."""


class Stopped(BlurtrainError):
    """A training that was asked to stop, and has saved what it needs to go on; the command line exits with REQUEUE."""


class Superseded(BlurtrainError):
    """A newer attempt at the same run has begun, so this one may not write any more."""


class JobError(BlurtrainError):
    """Jobs that cannot be submitted, watched or cancelled."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message that helps with a mistyped `name`: the nearest of `known`, and all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.25)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}(known: {', '.join(known) or 'none'})"


def some_of(names: Sequence[str], most: int) -> str:
    """A list of names in a message: the first `most`, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
