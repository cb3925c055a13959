"""An output map that is given by two functions of θ, and can be made slow."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

import geodescent as gd


@dataclass
class Given:
    """`x[θ]` and D as functions of θ.

    Attributes:
        outputs, jacobian: θ ↦ x, (m,), and θ ↦ D.
        theta: the parameters, (K,), float64.
        m: number of outputs.
        pause, pass_pause: seconds that a linearisation and a forward pass sleep.
        linearisations, passes: how many there were.
    """

    outputs: Callable[[Tensor], Tensor]
    jacobian: Callable[[Tensor], gd.MatrixJacobian]
    theta: Tensor
    m: int
    pause: float = 0.0
    pass_pause: float = 0.0
    linearisations: int = 0
    passes: int = 0
    dtype: torch.dtype = torch.float64
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def shape(self) -> tuple[int]:
        return (self.m,)

    def __call__(self, theta: Tensor) -> Tensor:
        self.passes += 1
        time.sleep(self.pass_pause)
        return self.outputs(theta)

    def linearise(self, theta: Tensor) -> tuple[Tensor, gd.MatrixJacobian]:
        self.linearisations += 1
        time.sleep(self.pause)
        return self.outputs(theta), self.jacobian(theta)

    def second_derivative(self, theta: Tensor, direction: Tensor) -> Tensor:
        return torch.autograd.functional.jvp(
            lambda t: torch.autograd.functional.jvp(self.outputs, t, direction, create_graph=True)[1], theta, direction
        )[1]

    def write(self, theta: Tensor) -> None:
        self.theta = theta.clone()


def sines(matrix: Tensor, **options: float) -> Given:
    """`A sin θ` at θ = 0, with D as a matrix."""
    m, k = matrix.shape
    theta = torch.zeros(k, dtype=torch.float64)
    return Given(lambda t: matrix @ t.sin(), lambda t: gd.MatrixJacobian(matrix * t.cos()), theta, m, **options)


def means(m: int, each: int) -> Given:
    """Means of tanh θ over m pieces of θ: D is known by its products alone, and `DDᵀ = (1 − tanh²)²/each` I at 0.1."""

    def jacobian(theta: Tensor) -> gd.MatrixJacobian:
        slope = (1.0 - theta.tanh().square()).view(m, each) / each
        products = (lambda v: (slope * v.view(m, each)).sum(1), lambda u: (slope * u[:, None]).reshape(-1))
        return gd.MatrixJacobian(products, shape=(m, m * each))

    theta = torch.full((m * each,), 0.1, dtype=torch.float64)
    return Given(lambda t: t.tanh().view(m, each).mean(1), jacobian, theta, m)
