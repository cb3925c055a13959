"""Steps of this library and full-batch Adam steps of the same network, in turn: their ratio outlives a busy machine."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from cases import mlp
from torch import Tensor, nn

import geodescent as gd
from geodescent.descent import Linearised

DAMPING = 1e-3  # Times ‖D‖_F²/m: any that a Cholesky factor takes costs the same.


@dataclass(frozen=True)
class Pairs:
    """Seconds of interleaved steps of `gd.fit`, or of the bare step, and of Adam."""

    fit: list[float] = field(default_factory=list)
    adam: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Adam steps a step, the median of the pairs."""
        return median(a / b for a, b in zip(self.fit, self.adam, strict=True))


def interleaved(n: int, widths: tuple[int, ...], *, steps: int) -> Pairs:
    """Whole steps of `gd.fit`, rejected trials included, on noise, where no step is the last; one pair warms up."""
    model, twin, x, y = problem_of(n, widths)
    step, pairs, begin = adam_step(twin, x, y), Pairs(), time.perf_counter()

    def callback(record: Any) -> None:
        nonlocal begin
        fitted = time.perf_counter() - begin
        seconds = step()
        if record.step > 1:
            pairs.fit.append(fitted)
            pairs.adam.append(seconds)
        begin = time.perf_counter()

    gd.fit(model, x, y, max_steps=steps, callback=callback)
    return pairs


def exact_steps(n: int, widths: tuple[int, ...], *, steps: int) -> Pairs:
    """One exact step each: forward, Gram, factor, solve, update, trial cost; one pair warms up."""
    model, twin, x, y = problem_of(n, widths)
    problem, adam, pairs = gd.Problem.of(model, x, y), adam_step(twin, x, y), Pairs()
    theta = problem.theta
    for _ in range(steps):
        begin = time.perf_counter()
        theta = exact_step(problem, theta)
        pairs.fit.append(time.perf_counter() - begin)
        pairs.adam.append(adam())
    return Pairs(pairs.fit[1:], pairs.adam[1:])


def exact_step(problem: gd.Problem, theta: Tensor) -> Tensor:
    """The θ of one damped Gauss–Newton step where its cost is lower, by the library's own pieces."""
    here = Linearised.at(problem, theta, lift=gd.GramLift(), dtype=torch.float64)
    trial = theta + here.lift(here.damped(DAMPING * here.prepared.mean_square), -here.residual).velocity
    return trial if here.cost_of(here.residual_at(trial)) < here.cost else theta


def problem_of(n: int, widths: tuple[int, ...]) -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    """Two networks of one shape, inputs and noise to fit."""
    torch.manual_seed(0)
    x, y = torch.randn(n, widths[0], dtype=torch.float64), torch.randn(n, widths[-1], dtype=torch.float64)
    return mlp(*widths).double(), mlp(*widths).double(), x, y


def adam_step(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], float]:
    """One full-batch Adam step, which returns its seconds."""
    optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def step() -> float:
        begin = time.perf_counter()
        loss = (model(x) - y).square().sum() / (2 * len(x))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return time.perf_counter() - begin

    step()
    return step
