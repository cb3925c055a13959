"""A run of the equations' benchmark: its clock, what is noted, and gradients by the faster of two ways."""

import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from geodescent import pde
from geodescent.pde._fields import FieldValues

THINNED = 1.02  # The error is noted after each 2 % more time, off the clock.


class Run:
    """The clock of a run, in CPU seconds of this process, and what is noted on it.

    Attributes:
        problem: whose rows are fitted.
        points: (seconds, cost, error), in the order of time.
    """

    def __init__(self, system: pde.System, error: Callable[[pde.System], float], budget: float) -> None:
        self.system, self.problem, self.budget = system, system.problem(), budget
        self._error, self._aside, self._due = error, 0.0, 0.0
        self.points = list[tuple[float, float, float]]()
        self.steps, self.result, self.best = 0, "budget", float("inf")
        self._gradient: Callable[[Tensor], tuple[float, Tensor]] | None = None
        self.begin = time.process_time()

    @property
    def seconds(self) -> float:
        """Since the start, without what was done aside."""
        return time.process_time() - self.begin - self._aside

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Work of the benchmark, not of the method."""
        begin = time.process_time()
        yield
        self._aside += time.process_time() - begin

    def note(self, theta: Tensor, cost: float, *, last: bool = False) -> bool:
        """Notes a point; true when the budget is out."""
        now, self.steps = self.seconds, self.steps + 1
        if now >= min(self._due, self.budget) or last or cost < 0.3 * self.best:
            with self.aside():
                stood = self.problem.theta
                self.problem.write(theta)
                self.points.append((now, cost, self._error(self.system)))
                self.problem.write(stood)
            self._due = THINNED * now + 1e-3
        self.best = min(self.best, cost)
        return now >= self.budget

    def value_and_gradient(self, theta: Tensor) -> tuple[float, Tensor]:
        """C and ∇C, with one pass backwards, by the way that took less time at the start."""
        if self._gradient is None:
            with self.aside():
                ways = (self._by_nested_autograd, self._by_streams)
                self._gradient = min(ways, key=lambda way: min(seconds_of(lambda: way(theta)) for _ in range(5)))
        return self._gradient(theta)

    def _by_streams(self, theta: Tensor) -> tuple[float, Tensor]:
        leaf = theta.detach().clone().requires_grad_()
        cost = self._cost([block.map.traced(leaf) for block in self.problem.blocks])
        (gradient,) = torch.autograd.grad(cost, leaf)
        return float(cost.detach()), gradient

    def _by_nested_autograd(self, theta: Tensor) -> tuple[float, Tensor]:
        """As it is written by hand: derivatives of the network by its inputs with create_graph=True."""
        stood = self.problem.theta
        self.problem.write(theta)
        cost = self._cost([rows_by_autograd(self.system, k) for k in range(len(self.system.terms))])
        gradients = torch.autograd.grad(cost, list(self.problem.blocks[0].map.parameters().values()))
        self.problem.write(stood)
        return float(cost.detach()), torch.cat([g.reshape(-1) for g in gradients])

    def _cost(self, parts: list[Tensor]) -> Tensor:
        rows = torch.cat([part.reshape(-1) for part in parts])
        return self.problem.weighted(rows - self.problem.target).square().sum() / (2.0 * self.problem.n_samples)


class NestedSource:
    """Derivatives of a field at points by nested autograd, each gradient once; what `FieldValues` reads."""

    def __init__(self, coordinates: tuple[str, ...], points: Tensor, values: Tensor) -> None:
        self.coordinates, self._points = coordinates, points
        self._known: dict[tuple[int, ...], Tensor] = {(): values}
        self._gradients = dict[tuple[int, ...], Tensor]()

    def derivative(self, name: str, derivative: tuple[int, ...]) -> Tensor:
        """One derivative."""
        if derivative not in self._known:
            *before, k = derivative
            first = tuple(before)
            if first not in self._gradients:
                total = self.derivative(name, first).sum()
                (self._gradients[first],) = torch.autograd.grad(total, self._points, create_graph=True)
            self._known[derivative] = self._gradients[first][:, k]
        return self._known[derivative]

    def laplacian(self, name: str, derivative: tuple[int, ...]) -> Tensor:
        """Over all coordinates but t."""
        axes = [k for k, coordinate in enumerate(self.coordinates) if coordinate != "t"]
        return sum((self.derivative(name, (*derivative, k, k)) for k in axes), torch.zeros(()))


def rows_by_autograd(system: pde.System, k: int) -> Tensor:
    """The residual of a term."""
    points = system.problem().blocks[k].map.points[0].clone().requires_grad_()
    source = NestedSource(system.coordinates, points, system.module(points)[:, 0])
    given = {"u": FieldValues(source, "u"), **dict(zip(system.coordinates, points.detach().unbind(1), strict=True))}
    equation = system.terms[k].equation
    rows = equation(*(given[name] for name in inspect.signature(equation).parameters))
    return rows.value if isinstance(rows, FieldValues) else rows


def seconds_of(call: Callable[[], object]) -> float:
    """CPU seconds."""
    begin = time.process_time()
    call()
    return time.process_time() - begin
