"""The equations of equations.py: a system for each seed, and the error of its field against a reference."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geodescent import pde

PI = math.pi
TEST_POINTS = 4000  # At random, of which the error is taken.


@dataclass(frozen=True)
class Case:
    """An equation with a known solution.

    Attributes:
        what: in words, for the table.
        build: network → system; points and conditions are the same for every seed.
        widths: of the network's hidden layers.
        exact: points (N, d) → solution, (N,).
        box: in which the test points lie.
        linear: whether random features solve it by one least-squares problem.
    """

    what: str
    build: Callable[[torch.nn.Module], pde.System]
    widths: tuple[int, ...]
    exact: Callable[[Tensor], Tensor]
    box: pde.Box
    linear: bool = True

    def system(self, seed: int, net: torch.nn.Module | None = None) -> pde.System:
        """With the network of this seed, or with another."""
        torch.manual_seed(seed)
        return self.build(pde.mlp(2, list(self.widths), 1) if net is None else net)

    def error(self) -> Callable[[pde.System], float]:
        """Root of the mean square of û − u over that of u."""
        points = self.box.inside(TEST_POINTS, rule="random", seed=99).points
        exact = self.exact(points)
        return lambda system: float((system(points)[:, 0] - exact).norm() / exact.norm())


def poisson(net: torch.nn.Module) -> pde.System:
    """Δu = −2π² sin πx sin πy, zero on the walls."""
    box = pde.Box(x=(0.0, 1.0), y=(0.0, 1.0))

    def equation(u, x, y):
        return u.laplacian + 2.0 * PI**2 * torch.sin(PI * x) * torch.sin(PI * y)

    terms = [pde.Term("poisson", equation, box.inside(900)), pde.Term("walls", lambda u: u, box.sides().points(120))]
    return pde.System(net, terms, coordinates=("x", "y"))


def helmholtz(net: torch.nn.Module) -> pde.System:
    """Δu + u = f of sin πx sin 4πy, zero on the walls."""
    box = pde.Box(x=(-1.0, 1.0), y=(-1.0, 1.0))

    def equation(u, x, y):
        return u.laplacian + u - (1.0 - 17.0 * PI**2) * torch.sin(PI * x) * torch.sin(4.0 * PI * y)

    terms = [pde.Term("helmholtz", equation, box.inside(1600)), pde.Term("walls", lambda u: u, box.sides().points(160))]
    return pde.System(net, terms, coordinates=("x", "y"))


def heat(net: torch.nn.Module) -> pde.System:
    """u_t = u_xx/4 from sin πx, zero at both ends."""
    box = pde.Box(t=(0.0, 1.0), x=(0.0, 1.0))
    terms = [
        pde.Term("heat", lambda u: u.t - 0.25 * u.xx, box.inside(900)),
        pde.Term("ends", lambda u: u, box.sides("x").points(80)),
        pde.Term("start", lambda u, x: u - torch.sin(PI * x), box.side(t=0.0).points(40)),
    ]
    return pde.System(net, terms, coordinates=("t", "x"))


def burgers(net: torch.nn.Module) -> pde.System:
    """The start is built in, and oddness at x = 0 and 1."""
    box = pde.Box(t=(0.0, 1.0), x=(0.0, 1.0))

    def conditions(net, t, x):
        return -torch.sin(PI * x) + 4.0 * t * x * (1.0 - x) * net

    inside = box.inside(2560, rule="gauss", crowd={"x": (0.0, 3.0)})
    terms = [pde.Term("burgers", lambda u: u.t + u * u.x - 0.01 * u.xx, inside)]
    return pde.System(net, terms, coordinates=("t", "x"), transform=conditions)


def cole_hopf(points: Tensor, viscosity: float = 0.01, nodes: int = 2000, reach: float = 9.0) -> Tensor:
    """The solution of Burgers' equation from −sin πx, by the trapezoid rule, which is spectrally accurate here."""
    t, x = points.numpy().T
    s = np.linspace(-reach, reach, nodes)
    found = np.empty_like(x)
    for k in range(0, len(x), 200):
        y = x[k : k + 200, None] - np.sqrt(4.0 * viscosity * np.maximum(t[k : k + 200, None], 1e-12)) * s
        exponent = -np.cos(PI * y) / (2.0 * PI * viscosity) - s**2
        weight = np.exp(exponent - exponent.max(1, keepdims=True))
        found[k : k + 200] = -(np.sin(PI * y) * weight).sum(1) / weight.sum(1)
    return torch.as_tensor(found)


def waves(kx: float, ky: float) -> Callable[[Tensor], Tensor]:
    """sin(k_x πx) sin(k_y πy)."""
    return lambda p: torch.sin(kx * PI * p[:, 0]) * torch.sin(ky * PI * p[:, 1])


SQUARE = pde.Box(x=(0.0, 1.0), y=(0.0, 1.0))
CASES = {
    "poisson": Case("Poisson 2-D", poisson, (20, 20), waves(1, 1), SQUARE),
    "burgers": Case("Burgers, 0.01", burgers, (20, 20, 20), cole_hopf, pde.Box(t=(0, 1), x=(0, 1)), linear=False),
    "helmholtz": Case("Helmholtz", helmholtz, (30, 30), waves(1, 4), pde.Box(x=(-1.0, 1.0), y=(-1.0, 1.0))),
    "heat": Case(
        "heat",
        heat,
        (20, 20),
        lambda p: torch.exp(-0.25 * PI**2 * p[:, 0]) * torch.sin(PI * p[:, 1]),
        pde.Box(t=(0.0, 1.0), x=(0.0, 1.0)),
    ),
}
