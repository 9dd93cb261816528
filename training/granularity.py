"""From part to whole: which of the masks that a prompt gives is meant by a granularity.

Axes: Q masks of a prompt, by rising area.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_PLACE = int | np.integer
_SHARE = float | np.floating
Granularity = _PLACE | _SHARE
"""A whole number is a place among the masks of a prompt by rising area, from 0, the part. A number with a fraction,
0.0 to 1.0, is an area between the smallest of them and the largest; see :func:`chosen`."""


def require_granularity(granularity: object, masks: int) -> None:
    """Refuses what means no mask.

    Args:
        granularity: Should be a whole number below the number of masks, or a fraction from 0.0 to 1.0.
        masks: How many a prompt has.

    Raises:
        TypeError: when it is no number.
        ValueError: when there is no such mask, or it is not within [0, 1].
    """
    if isinstance(granularity, bool) or not isinstance(granularity, _PLACE | _SHARE):
        raise TypeError(
            f"granularity must be a whole number or a fraction, from 0.0, the part, to 1.0, the whole, got "
            f"{granularity!r}"
        )
    if isinstance(granularity, _PLACE):
        if not 0 <= granularity < masks:
            raise ValueError(
                f"granularity must be a mask from 0, the part, to {masks - 1}, the whole, or a fraction such as 0.5, "
                f"got {granularity}"
            )
    elif not 0 <= granularity <= 1:
        raise ValueError(f"granularity must be within 0.0 and 1.0, or the whole number of a mask, got {granularity}")


def chosen(area_Q: NDArray[np.int64], granularity: Granularity) -> int:
    """Which mask of a prompt a granularity means.

    A fraction g means the area that lies so far between that of the smallest mask, a, and that of the largest, b, on a
    scale of ratios: a^(1 - g) b^g, so half way between 100 and 10,000 pixels are 1,000. The mask nearest to that on the
    same scale is taken, and of two that are as near the smaller. Empty masks are not, unless there is no other.

    Args:
        area_Q: int64, rising: the areas in pixels; at least one.
        granularity: A whole number below Q, or a fraction from 0.0 to 1.0.

    Returns:
        The index of the mask.

    Raises:
        TypeError, ValueError: as :func:`require_granularity` does.

    Example:
        >>> areas_Q = np.array([0, 100, 150, 900, 1200, 10_000])
        >>> chosen(areas_Q, 0), chosen(areas_Q, 5), chosen(areas_Q, 0.0), chosen(areas_Q, 0.5), chosen(areas_Q, 1.0)
        (0, 5, 1, 3, 5)
    """
    require_granularity(granularity, len(area_Q))
    if isinstance(granularity, _PLACE):
        return int(granularity)
    share = float(granularity)
    filled = np.flatnonzero(area_Q)
    if not len(filled):
        return 0
    scale_Q = np.log(area_Q[filled])
    wanted = (1 - share) * scale_Q[0] + share * scale_Q[-1]
    return int(filled[np.abs(scale_Q - wanted).argmin()])
