"""Arrays of training, by their element type; shapes stand with each function."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Labels = NDArray[np.integer]
"""0 or 1, of any integer dtype; of groups, any whole numbers."""

Indices = NDArray[np.intp]
