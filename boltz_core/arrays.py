"""Names for the arrays that travel between the modules of this package; shapes are said where they matter."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from boltz_protocol.tensors import Float32Vector, Float64Vector

Int64Vector: TypeAlias = NDArray[np.int64]
Float32Block: TypeAlias = NDArray[np.float32]
Float64Block: TypeAlias = NDArray[np.float64]
Buffer: TypeAlias = bytes | bytearray | memoryview | NDArray[Any]

__all__ = ["Buffer", "Float32Block", "Float32Vector", "Float64Block", "Float64Vector", "Int64Vector"]
