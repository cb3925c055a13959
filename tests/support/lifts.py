"""What every lift is compared with: the Penrose inverse of a dense D, and problems of known shape and rank."""

import itertools
from dataclasses import dataclass

import torch
from support.laws import naive_jacobian
from support.matrices import F64
from torch import Tensor, nn

import geodescent as gd
from geodescent.lift import Lifted


def oracle(dense: Tensor, velocity: Tensor, damping: float, *, metric: Tensor | None = None) -> Tensor:
    """`M^{−½} B⁺_μ v` with `B = D M^{−½}`, by singular values."""
    columns = torch.ones(dense.shape[1], dtype=F64) if metric is None else metric.rsqrt()
    left, values, right = torch.linalg.svd(dense * columns, full_matrices=False)
    keep = values > 1e-11 * values[0]
    s = values[keep]
    return columns * (right[keep].T @ ((s / (s * s + damping)) * (left[:, keep].T @ velocity)))


def energy_of(lifted: Lifted, damping: float) -> float:
    """`‖Bθ̇ − v‖² + μ‖θ̇‖²`."""
    return float(lifted.misfit @ lifted.misfit + damping * lifted.velocity @ lifted.velocity)


@dataclass(frozen=True)
class Case:
    """A problem of known shape and rank."""

    name: str
    n: int
    sizes: tuple[int, ...]
    rank: int
    duplicates: int = 0


CASES = [
    Case("K > m", 12, (3, 20, 2), rank=24),
    Case("K > m, duplicates", 12, (3, 20, 2), rank=20, duplicates=2),
    Case("K < m", 40, (3, 6, 2), rank=38),
    Case("K < m, duplicates", 30, (3, 6, 2), rank=38, duplicates=2),
    Case("K = m", 16, (3, 3, 1), rank=16),
    Case("N = 1", 1, (3, 5, 2), rank=2),
]


class Mixed(nn.Module):
    """Outputs that are fixed combinations of the inputs."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix.T


class Times(nn.Module):
    """Outputs in other units."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def made(case: Case, *, scale: float = 1.0, weighted: bool = False) -> tuple[gd.Problem, Tensor]:
    """The problem and its weighted rows, by autograd."""
    layers = [layer for a, b in itertools.pairwise(case.sizes) for layer in (nn.Linear(a, b), nn.Tanh())]
    model = nn.Sequential(*layers[:-1], Times(scale)).double()
    x = torch.randn(case.n, case.sizes[0], dtype=F64)
    for i in range(case.duplicates):
        x[i + 1] = x[0]
    y = scale * torch.randn(len(x), case.sizes[-1], dtype=F64)
    weights = torch.rand(len(x), dtype=F64) + 0.1
    rows = weights.sqrt().repeat_interleave(case.sizes[-1])[:, None] if weighted else 1.0
    return gd.Problem.of(model, x, y, weights=weights if weighted else None), rows * naive_jacobian(model, x)
