"""Arrays as text, so that a line of JSON can hold them: typed, compressed, equal when read again."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pack(array: NDArray[Any]) -> list[Any]:
    """An array of numbers or truth values as JSON-ready data.

    Example:
        >>> unpack(pack(np.array([[1, 2]], dtype=np.int8)))
        array([[1, 2]], dtype=int8)
    """
    code = base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes()))
    return [array.dtype.str, list(array.shape), code.decode("ascii")]


def unpack(packed: list[Any]) -> NDArray[Any]:
    """The array that :func:`pack` was given.

    Raises:
        ValueError: when it is not what that function gives.
    """
    try:
        dtype, shape, code = packed
        return np.frombuffer(zlib.decompress(base64.b64decode(code)), dtype=dtype).reshape(shape)
    except (ValueError, TypeError, zlib.error) as error:
        raise ValueError(f"packed must be an array that pack gave, got {str(packed)[:80]} ({error})") from error
