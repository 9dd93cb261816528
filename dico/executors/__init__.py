"""What does the work: this process, processes of this machine, or (:mod:`dico.cluster`) those of many machines."""

from dico.executors.base import Executor, Session, WorkerError
from dico.executors.inline import InlineExecutor

__all__ = ["Executor", "InlineExecutor", "Session", "WorkerError"]
