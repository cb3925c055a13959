"""A second objective of the module alone, beside the cost."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geodescent._errors import InputError
from geodescent._types import Theta
from geodescent.outputs import Layered, Parametrised
from geodescent.problem import Problem

Objective = Callable[[nn.Module], Tensor]


def squared_norm(model: nn.Module) -> Tensor:
    """`½‖θ‖²` over the parameters that require grad."""
    return 0.5 * sum((p.square().sum() for p in model.parameters() if p.requires_grad), torch.zeros((), device="cpu"))


@dataclass(frozen=True)
class ObjectiveAt:
    """R and ∇R at a θ that is written into the module for the question."""

    problem: Problem
    objective: Objective

    def __call__(self, theta: Theta) -> tuple[float, Theta]:
        """`(R, ∇R)`, the gradient (K,) in float64."""
        outputs = self.problem.blocks[0].map
        if not (isinstance(outputs, Layered) and isinstance(outputs, Parametrised)):
            raise InputError("an objective is of a module: the problem's first block has none.")
        self.problem.write(theta)
        chosen = list(outputs.parameters().values())
        with torch.enable_grad():
            value = self.objective(outputs.model)
            parts = torch.autograd.grad(value, chosen, allow_unused=True)
        filled = [torch.zeros_like(p) if g is None else g for p, g in zip(chosen, parts, strict=True)]
        return value.item(), torch.cat([g.reshape(-1) for g in filled]).double()
