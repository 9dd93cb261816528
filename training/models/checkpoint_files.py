"""Files of weights: read without running what is in them, whatever wrote them."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

_SAFETENSORS, _INDEX, _BIN = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
# What an array needs to come out of a pickle, by the names of all NumPy releases.
_CORES = ("numpy.core", "numpy._core")
_ARRAYS = frozenset(
    {("numpy", "ndarray"), ("numpy", "dtype"), ("collections", "OrderedDict"), ("_codecs", "encode")}
    | {(f"{core}.multiarray", name) for core in _CORES for name in ("_reconstruct", "scalar")}
    | {(f"{core}.numeric", "_frombuffer") for core in _CORES}
)


class CheckpointError(ValueError):
    """Weights are missing, cannot be read, or do not fit the network; the message says what would."""


def read_state(path: Path, *, mapped: bool = False) -> dict[str, Tensor]:
    """The tensors of a file or folder, under the names that they have there.

    Args:
        path: A Hugging Face folder; a ``.safetensors`` file; a ``.pkl`` file of arrays, as detectron2's model zoo has
            them; or any other file, which must be one of ``torch.save``. What lies under a key ``model`` is taken,
            where there is one. Only tensors, arrays and plain values are unpickled, never code.

        mapped: Leave the values of tensors in the file until they are looked at, where the file can be mapped.

    Returns:
        Tensors on the CPU.

    Raises:
        CheckpointError: when there is nothing at the path, or it cannot be read safely, or holds no tensors.
    """
    try:
        loaded = _read(path, mapped)
    except CheckpointError:
        raise
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file or folder") from error
    except (pickle.UnpicklingError, SafetensorError, EOFError, RuntimeError, ValueError, LookupError) as error:
        # torch goes on to recommend a way of reading that runs what is in the file.
        reason = str(error).partition(" In PyTorch 2.6")[0].partition("\n")[0].removeprefix("Weights only load failed.")
        raise CheckpointError(
            f"{path} cannot be read as weights ({reason.strip() or type(error).__name__}). "
            "It must be a Hugging Face folder, a .safetensors file, "
            "a .pkl of arrays or a file of torch.save that holds plain tensors; a truncated file fails like this, too."
        ) from error
    while isinstance(loaded, Mapping) and isinstance(loaded.get("model"), Mapping):
        loaded = loaded["model"]
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f"{path} must hold names and tensors, got {type(loaded).__name__}")
    state = {str(name): _tensor(value) for name, value in loaded.items() if isinstance(value, Tensor | np.ndarray)}
    if not state:
        raise CheckpointError(f"{path} holds no tensors; its keys begin with {', '.join(map(str, list(loaded)[:5]))}")
    return state


def _read(path: Path, mapped: bool) -> Any:
    if path.is_dir():
        return _read_folder(path)
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.suffix == ".pkl":
        with path.open("rb") as file:
            return _ArrayUnpickler(file, encoding="latin1").load()  # some were written by Python 2
    # Training state beside the weights has NumPy's numbers in it: a best score, a schedule.
    numbers: list[Any] = [np.dtype, *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64"))]
    scalar: Any = np.float64(0).__reduce__()[0]
    with torch.serialization.safe_globals([*numbers, *((scalar, f"{core}.multiarray.scalar") for core in _CORES)]):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and zipfile.is_zipfile(path))


def _read_folder(folder: Path) -> dict[str, Tensor]:
    if (folder / _SAFETENSORS).is_file():
        return load_file(folder / _SAFETENSORS)
    if (folder / _INDEX).is_file():
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        shards = sorted(set(index["weight_map"].values()))
        return {name: value for shard in shards for name, value in load_file(folder / shard).items()}
    if (folder / _BIN).is_file():
        state: dict[str, Tensor] = torch.load(folder / _BIN, map_location="cpu", weights_only=True)
        return state
    raise CheckpointError(f"{folder} has no {_SAFETENSORS}, {_INDEX} or {_BIN} in it")


def _tensor(value: Tensor | np.ndarray[Any, Any]) -> Tensor:
    return value if isinstance(value, Tensor) else torch.from_numpy(np.array(value))


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ARRAYS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, and arrays need nothing of the kind")
        return super().find_class(module, name)
