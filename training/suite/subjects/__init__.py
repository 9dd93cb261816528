"""What is evaluated: a model, stored labels or results files; how each answers the images of a data set."""

from __future__ import annotations

from training.suite.subjects.base import AbsentError, Clicks, Subject
from training.suite.subjects.model import ModelSubject
from training.suite.subjects.results import ResultsSubject
from training.suite.subjects.store import StoreSubject

__all__ = ["AbsentError", "Clicks", "ModelSubject", "ResultsSubject", "StoreSubject", "Subject"]
