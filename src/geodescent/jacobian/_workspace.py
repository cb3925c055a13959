"""Memory that is reused while the tiles of a Gram matrix are computed."""

import torch
from torch import Tensor


class Workspace:
    """Two buffers, allocated again only for a larger size: first access to new memory costs more than a product."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self._buffers = [torch.empty(0, dtype=dtype, device=device) for _ in range(2)]

    def weights(self, rows: int, columns: int) -> Tensor:
        """The buffer for inner products of layer inputs."""
        return self._take(0, rows, columns)

    def products(self, rows: int, columns: int) -> Tensor:
        """The buffer for inner products of cotangents."""
        return self._take(1, rows, columns)

    def _take(self, which: int, rows: int, columns: int) -> Tensor:
        if self._buffers[which].numel() < rows * columns:
            self._buffers[which] = self._buffers[which].new_empty(rows * columns)
        return self._buffers[which][: rows * columns].view(rows, columns)
