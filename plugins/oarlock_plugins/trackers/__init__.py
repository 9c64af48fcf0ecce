"""Built-in trackers: callbacks that hand a run to a tool that shows many of them."""

from oarlock import hookimpl
from oarlock_plugins.trackers.mlflow import MLflow
from oarlock_plugins.trackers.tensorboard import TensorBoard
from oarlock_plugins.trackers.visualdl import VisualDL


@hookimpl
def register_components(register):
    register("callback/mlflow", MLflow)
    register("callback/tensorboard", TensorBoard)
    register("callback/visualdl", VisualDL)
