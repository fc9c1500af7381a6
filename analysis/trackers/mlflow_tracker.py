"""MLflow: a run of the tracker for each of ours, found again by a tag, in a local SQLite file or at an address."""

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from analysis.trackers.tracked_run import TrackedRun
from analysis.trackers.tracker import Written, is_address, not_in, writable
from blurtrain.errors import RunError, SettingsError

RUN_TAG = "blurtrain.run_id"
LONGEST_VALUE = 6000
"""Letters of a setting."""
_BATCH = {"metrics": 1000, "params": 100, "tags": 100}
_STATUS = {"done": "FINISHED", "failed": "FAILED", "pruned": "KILLED", "running": "RUNNING", "waiting": "SCHEDULED"}
T = TypeVar("T")


class MlflowTracker:
    """Runs in one experiment."""

    def __init__(self, out: str, experiment: str):
        """out: a folder for `mlflow.db`, or an address with `://`. Raises SettingsError, or RunError where it cannot be
        used."""
        if is_address(out):
            address, artifacts = _checked(out), None
        else:
            folder = writable(Path(out))
            address, artifacts = f"sqlite:///{quote(str(folder / 'mlflow.db'))}", (folder / "artifacts").as_uri()
        # Nothing is sent to anybody but that address, and one that does not answer is given up in seconds; stdout is
        # for our results.
        os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
        for name, value in (("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2"), ("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")):
            os.environ.setdefault(name, value)
        import mlflow.entities
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._out, self._entities = out, mlflow.entities
        try:
            self._client = MlflowClient(tracking_uri=address)
            found = self._client.get_experiment_by_name(experiment)
            self._experiment = found.experiment_id if found else self._client.create_experiment(experiment, artifacts)
        except Exception as error:
            raise self._cannot("be used", error) from None

    def write(self, run: TrackedRun) -> Written:
        """What is new of a run, and nothing else: points by name and epoch, settings by name."""
        try:
            return self._write(run)
        except Exception as error:
            raise self._cannot(f"take {run.run_id}", error) from None

    def close(self) -> None:
        """Nothing is left to do."""

    def _cannot(self, what: str, error: Exception) -> RunError:
        text = str(error).strip() or type(error).__name__
        return RunError(f"{self._out}: MLflow cannot {what}: {text.splitlines()[0][:300]}")

    def _write(self, run: TrackedRun) -> Written:
        there = self._run(run)
        key, metric, param = there.info.run_id, self._entities.Metric, self._entities.Param
        known = self._known(key, there.data.metrics)
        curves, differing = not_in(known, run.curves)
        results, differing_results = not_in(known, run.results)
        self._log(key, "params", [param(name, _text(value)) for name, value in run.settings.items()
                                 if name not in there.data.params])  # fmt: skip
        self._log(key, "metrics", [metric(p.name, p.value, _ms(p.time), p.epoch) for p in (*curves, *results)])
        tags = {name: str(value) for name, value in run.about.items()}
        self._log(key, "tags", [self._entities.RunTag(name, value) for name, value in tags.items()
                               if there.data.tags.get(name) != value])  # fmt: skip
        status = _STATUS[run.about["state"]]
        if there.info.status != status and status in ("RUNNING", "SCHEDULED"):
            self._client.update_run(key, status)
        elif there.info.status != status:
            last = max((point.time for point in run.curves), default=run.began)
            self._client.set_terminated(key, status, _ms(run.ended or last))
        return Written(key, len({p.epoch for p in curves}), len(results), (*differing, *differing_results))

    def _run(self, run: TrackedRun) -> Any:
        """The tracker's run, made if there is none."""
        wanted = f"tags.`{RUN_TAG}` = '{_quoted(run.run_id)}'"
        found = self._client.search_runs([self._experiment], wanted, order_by=["attributes.start_time"])
        if found:
            return found[0]
        tags = {RUN_TAG: _quoted(run.run_id), "mlflow.source.name": "blurtrain"}
        return self._client.create_run(self._experiment, _ms(run.began), tags, run.run_id)

    def _known(self, key: str, names: Mapping[str, float]) -> dict[tuple[str, int], float]:
        """The points that the tracker has, by name and epoch."""
        return {(name, one.step): one.value for name in names for one in self._client.get_metric_history(key, name)}

    def _log(self, key: str, kind: str, entities: Sequence[Any]) -> None:
        for some in _parts(entities, _BATCH[kind]):
            self._client.log_batch(key, **{kind: some})


def _checked(address: str) -> str:
    """An address that holds no secret, which lists of processes and histories of shells would keep."""
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise SettingsError(f"--out: {error}") from None
    if parts.password is not None or (parts.username is not None and parts.scheme in ("http", "https")):
        raise SettingsError(
            "--out: the address holds a password or token; leave it out, and give it to MLflow as "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    return address


def _quoted(run_id: str) -> str:
    """A run id between quotation marks of a filter; nearly always itself."""
    return re.sub(r"[^\w.\-+=@ ]", lambda found: f"%{ord(found[0]):x}", run_id)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def _ms(seconds: float) -> int:
    return round(1000 * seconds)


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[at : at + size] for at in range(0, len(items), size))
