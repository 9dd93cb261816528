"""Checkpoints: files that users of detectron2 know, written whole or not at all.

A folder holds ``model_%07d.pth``, numbered by the steps done; ``model_final.pth`` when training is over; and
``last_checkpoint``, a line with the name of the newest. A file holds what ``torch.save`` makes of plain values: under
``model`` the weights, which :func:`training.models.checkpoints.load_model` reads; under ``optimizer``, ``scaler`` and
``step`` what training goes on from; and under ``config``, ``config_hash`` and ``version`` where it came from. There is
no state of random numbers in it: every draw is a function of the seed and the step.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dico.atomic import atomic_file
from dico.config_loading import plain_hash
from dico.version import dico_version

LAST = "last_checkpoint"
FINAL = "model_final.pth"
_NUMBERED = re.compile(r"model_(\d{7,})\.pth")


@dataclass(frozen=True, eq=False)
class TrainingState:
    """What training goes on from.

    Attributes:
        step: Steps done.
        model: Weights and buffers, under the names of the plain model.
        optimiser: As ``state_dict()`` gives it.
        scaler: As ``state_dict()`` gives it; empty without loss scaling.
    """

    step: int
    model: Mapping[str, Tensor]
    optimiser: Mapping[str, Any]
    scaler: Mapping[str, Any]


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: Where they lie; made when the first is written.
        config: The resolved configuration as plain values, kept in every file.
        keep: So many numbered ones stay, the newest.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], *, keep: int) -> None:
        self.folder = folder
        self.config = dict(config)
        self._keep = keep

    def require_none(self) -> None:
        """Refuses a folder that a run has been in.

        Raises:
            FileExistsError: when it has checkpoints.
        """
        if (self.folder / LAST).exists() or self._numbered() or (self.folder / FINAL).exists():
            raise FileExistsError(
                f"{self.folder} has the checkpoints of an earlier run; --resume goes on from them, "
                "output=FOLDER writes elsewhere"
            )

    def save(self, state: TrainingState, *, final: bool = False) -> Path:
        """Writes a checkpoint and removes those that are too old; a kill at any moment leaves the last good one.

        Args:
            state: What to keep.
            final: Whether training is over.

        Returns:
            The file.

        Raises:
            OSError: when there is no room for it; the checkpoints of before are as they were.
        """
        path = self.folder / (FINAL if final else f"model_{state.step:07d}.pth")
        try:
            self._write(path, state)
        except (OSError, RuntimeError) as error:  # the latter is torch's word for a full disk
            raise OSError(
                f"{path} cannot be written ({error}): is there room? The checkpoints of before are as they were, and "
                "--resume goes on from the last"
            ) from error
        # Only now: up to here, the name that was in the file had to be there.
        for old in self._numbered()[: -self._keep]:
            if old != path:  # a run that went back to an earlier checkpoint has later ones beside it
                old.unlink()
        for torn in self.folder.glob(".model_*.pth.*.tmp"):  # of a run that was killed as it wrote
            torn.unlink()
        return path

    def _write(self, path: Path, state: TrainingState) -> None:
        with atomic_file(path) as temporary:
            torch.save(
                {
                    "model": dict(state.model),
                    "optimizer": dict(state.optimiser),
                    "scaler": dict(state.scaler),
                    "step": state.step,
                    "config": self.config,
                    "config_hash": plain_hash(self.config),
                    "version": dico_version(),
                },
                temporary,
            )
        with atomic_file(self.folder / LAST) as temporary:
            temporary.write_text(f"{path.name}\n", encoding="utf-8")

    def last(self) -> Path | None:
        """The newest checkpoint, as ``last_checkpoint`` names it; None when there is none.

        Raises:
            FileNotFoundError: when the file that it names is not there, with what can be done.
        """
        try:
            name = (self.folder / LAST).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            # A kill between the two writes of the first checkpoint: the file itself is whole.
            final = self.folder / FINAL
            return next(reversed(self._numbered()), final if final.is_file() else None)
        path = self.folder / name
        if not name or not path.is_file():
            raise FileNotFoundError(f"{self.folder / LAST} names {name!r}, which is not there; {self._way_out(path)}")
        return path

    def load(self, path: Path) -> tuple[TrainingState, Mapping[str, Any]]:
        """A checkpoint of :meth:`save`.

        Args:
            path: The file.

        Returns:
            The state, on the CPU, and the configuration that it was trained with.

        Raises:
            ValueError: when it is damaged or no checkpoint of ours, with what can be done.
        """
        try:
            return _read(path)
        except _UNREADABLE as error:
            raise ValueError(f"{path} cannot be read as a checkpoint ({error}); {self._way_out(path)}") from error

    def _numbered(self) -> list[Path]:
        found = [path for path in self.folder.glob("model_*.pth") if _NUMBERED.fullmatch(path.name)]
        return sorted(found, key=lambda path: int(path.stem.removeprefix("model_")))

    def _way_out(self, damaged: Path) -> str:
        for path in reversed(self._numbered()):
            if path == damaged:
                continue
            try:
                state, _ = _read(path)
            except _UNREADABLE:
                continue
            return f"write {path.name} into {self.folder / LAST} to go on from step {state.step}, which is readable"
        return "no other checkpoint in the folder can be read: start anew in another output"


_UNREADABLE = (OSError, pickle.UnpicklingError, EOFError, RuntimeError, ValueError, KeyError, TypeError)


def _read(path: Path) -> tuple[TrainingState, Mapping[str, Any]]:
    held = torch.load(path, map_location="cpu", weights_only=True)
    missing = [key for key in ("model", "optimizer", "scaler", "step", "config") if key not in held]
    if missing:
        raise ValueError(f"it has no {', '.join(missing)}; weights={path} starts a new run from its weights")
    return TrainingState(held["step"], held["model"], held["optimizer"], held["scaler"]), held["config"]
