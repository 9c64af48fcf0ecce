"""A run of MLflow's."""

from __future__ import annotations

import contextlib
import os
import re
from typing import Optional

from oarlock import component
from oarlock_plugins.trackers.tracker import Tracker, label

# In a run's folder, which of MLflow's runs it is.
NOTED = "mlflow.txt"
# MLflow's words for how a run ended.
STATUS = {"interrupted": "KILLED", "failed": "FAILED"}
# What MLflow takes at once, and of one value.
MOST_PARAMS, MOST_LETTERS = 100, 500
# By default a server that is not there is tried for minutes.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


@component
class MLflow(Tracker):
    """A run of MLflow's: options as parameters, metrics by step, how it ended.

    `pip install 'oarlock[mlflow]'`. A resumed run goes on in the one that it was, which `mlflow.txt` in its
    folder names.

    Args:
        tracking_uri: a server's address or a database; by default MLFLOW_TRACKING_URI, else sqlite:///mlflow.db.
        experiment: the experiment that the run belongs to, made if there is none.
        run_name: by default the run's folder.
    """

    name = package = "mlflow"
    not_in_names = re.compile(r"[^\w\-. :/]", re.ASCII)

    tracking_uri: Optional[str] = None
    experiment: str = "oarlock"
    run_name: Optional[str] = None

    def open(self, run, values):
        import logging

        for key, value in PATIENCE.items():
            os.environ.setdefault(key, value)
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it tells of each time that it tries again
        from mlflow import MlflowClient

        uri = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
        with _alone_with(uri):
            self._client = MlflowClient(tracking_uri=uri)
        self._noted = run.destination / NOTED
        if self._noted.exists():
            self._id = self._noted.read_text(encoding="utf-8").strip()
            self._client.update_run(self._id, status="RUNNING")
            return
        tags = {"oarlock.folder": str(run.destination)}
        name = self.run_name or label(run)
        self._id = self._client.create_run(self._experiment(), run_name=name, tags=tags).info.run_id
        try:
            self._note()
            self._log_parameters(values)
        except Exception:
            with contextlib.suppress(Exception):  # what comes first is told
                self.close("failed")
            raise

    def _note(self):
        """Write the number into the run's folder, where a resumed run finds it; a trial may get its folder later, or none."""
        if self._noted.parent.is_dir() and not self._noted.exists():
            self._noted.write_text(f"{self._id}\n", encoding="utf-8")

    def _experiment(self):
        """The number of the experiment; another process may make it at the same moment."""
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(self.experiment)
        if found is None:
            try:
                return self._client.create_experiment(self.experiment)
            except MlflowException:
                found = self._client.get_experiment_by_name(self.experiment)
                if found is None:
                    raise
        return found.experiment_id

    def _log_parameters(self, values):
        from mlflow.entities import Param

        parameters = [Param(self.fit(key), str(value)[:MOST_LETTERS]) for key, value in values.items()]
        for start in range(0, len(parameters), MOST_PARAMS):
            self._client.log_batch(self._id, params=parameters[start : start + MOST_PARAMS])

    def write(self, row, step, time):
        from mlflow.entities import Metric

        self._note()
        self._client.log_batch(self._id, [Metric(name, value, round(time * 1000), step) for name, value in row.items()])

    def close(self, status):
        self._client.set_terminated(self._id, STATUS.get(status, "FINISHED"))
        self._note()


@contextlib.contextmanager
def _alone_with(uri):
    """While open, no other run of this user's opens this file; two that make MLflow's tables at once would both fail."""
    if not uri.startswith("sqlite:"):
        yield
        return
    import fcntl
    import hashlib
    import tempfile

    where = hashlib.sha256(os.path.abspath(uri.removeprefix("sqlite:///")).encode()).hexdigest()[:16]
    with open(os.path.join(tempfile.gettempdir(), f"oarlock-mlflow-{os.getuid()}-{where}"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
