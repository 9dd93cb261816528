"""Images as the pipeline sees them: RGB, upright, 8 bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""uint8 (H, W, 3) RGB, upright."""
