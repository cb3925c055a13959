"""A case: a module with data, and what it may be refused for."""

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from fuzz.checks import OURS, Found, Refusal, Wrong, by_autograd, call, cost_by_hand, flat, require, require_sentence
from fuzz.draw import Draw
from fuzz.modules import Net, inputs_of, net
from torch import Tensor, nn

LARGE = 15_000  # Parameters: five matrices of so many rows take 9 GB.


@dataclass
class Case:
    """A module, inputs, targets and weights.

    Attributes:
        scale: of the inputs.
        refusals: what else a door may say of it.
    """

    draw: Draw
    model: nn.Module
    X: Any
    y: Tensor
    weights: Tensor | None
    scale: float
    net: Net
    refusals: list[Refusal] = field(default_factory=list)

    @cached_property
    def dense(self) -> Tensor:
        """D where the model stands, by autograd."""
        return by_autograd(self.model, self.X)

    @property
    def outputs(self) -> Tensor:
        return call(self.model, self.X)

    @property
    def cost(self) -> float:
        return cost_by_hand(self.outputs, self.y, self.weights)

    def more(self, n: int) -> tuple[Any, Tensor]:
        """Inputs and targets of n other samples."""
        n = max(n, self.net.least)
        X = inputs_of(self.draw, self.net.inputs, n, self.scale, self.y.dtype)
        return self.draw.there(X), self.y[:1].expand(n, *self.y.shape[1:]).clone()


def case_of(draw: Draw) -> Case:
    """A random module on random data of random scales."""
    dtype = torch.float64 if draw.chance(0.6) else torch.float32
    made = net(draw)
    model, n = made.module.to(dtype), max(made.least, draw.size(40))
    scale = draw.scale(6.0)
    scale = min(scale, 1.0) if made.least > 1 else scale  # a single number, normalised, is its rounding error
    X = inputs_of(draw, made.inputs, n, scale, dtype)
    shape = call(model, X).shape
    size, offset = draw.scale(9.0), draw.scale(9.0) if draw.chance(0.2) else 0.0
    y = (size * draw.normal(*shape) + offset).to(dtype)
    y = y.squeeze(-1) if shape[1:] == (1,) and draw.chance(0.3) else y
    weights = None
    if draw.chance(0.15):
        weights = draw.normal(n).abs().to(dtype)
        weights[1:] *= (draw.normal(n - 1) > -0.5).to(dtype)
    model, X, y = draw.there(model), draw.there(X), draw.there(y)
    case = Case(draw, model, X, y, weights if weights is None else draw.there(weights), scale, made)
    case.refusals += _refusals(case)
    return case


def _refusals(case: Case) -> list[Refusal]:
    """What every door may say of some cases, with the test of whether it is so."""
    return [
        Refusal("cost at the start is (inf|nan)", lambda: not torch.isfinite(torch.tensor(case.cost)).item()),
        Refusal("derivative of the outputs at the start holds NaN", lambda: not bool(case.dense.isfinite().all())),
        Refusal("the cost at the start is 0.0: the flow needs", lambda: case.cost == 0.0),
        Refusal("the outputs depend on no parameter", lambda: not case.dense.any()),
        Refusal("samples are too few to draw a fifth", lambda: len(case.y) < 10),
        Refusal("the normal (lift|matrix) .* are allowed", lambda: len(flat(case.model)) >= LARGE),
    ]


def guarded(case: Case, work: Any) -> str:
    """Runs a door on a case: "done", or "refused" in a true sentence; raises Wrong for everything else."""
    found = Found(case.model, case.draw.device)
    before = flat(case.model)
    try:
        work()
        said = "done"
    except OURS as error:
        require_sentence(error)
        fitting = [refusal for refusal in case.refusals if re.search(refusal.pattern, str(error))]
        if not fitting:
            raise Wrong(f"refused: {type(error).__name__}: {error}") from error
        require(any(refusal.is_true() for refusal in fitting), f"refused, and it is not so: {error}")
        require(torch.equal(flat(case.model), before), "a refused model has other parameters than before")
        said = "refused"
    found.require_left()
    require(bool(flat(case.model).isfinite().all()), "parameters are not finite")
    return said
