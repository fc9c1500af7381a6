"""What metrics and settings are called in trackers, which take fewer letters than we do."""

import hashlib
import re

LONGEST = 250
"""Letters of a name in MLflow."""
_WORDS = {"@": "at", "=": "is"}
_OTHERS = re.compile(r"[^\w.\- ]")


def tracker_name(*parts: str) -> str:
    """Parts as one name, split/metric/blur: letters, digits, `_.- ` and a slash between parts are kept, `@` becomes
    `:at:`, `=` `:is:`, any other character its number (hexadecimal) between colons: two names never become one."""
    name = "/".join(map(_safe, parts))
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 20]}:{_digest(name)}"


def tracker_id(run_id: str) -> str:
    """The id of a run in W&B, which may be 128 letters long and must go into an address: the run's own, where it is
    one."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", run_id):
        return run_id
    return f"{re.sub(r'[^A-Za-z0-9._-]', '-', run_id)[:100]}-{_digest(run_id)}"


def _safe(part: str) -> str:
    if not part.strip("."):  # a path would get lost in such a one
        return part.replace(".", ":2e:") or ":"
    return _OTHERS.sub(lambda found: f":{_WORDS.get(found[0], f'{ord(found[0]):x}')}:", part)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]
