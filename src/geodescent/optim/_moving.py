"""The parameters that an optimizer moves: those of a module, those of a problem's modules, or a problem's own θ."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geodescent._errors import InputError
from geodescent._types import Theta
from geodescent.outputs import Parametrised
from geodescent.problem import Problem

NOTHING_MOVES = "none of the optimizer's parameters requires grad: there is nothing to fit. Call requires_grad_(True)."


@dataclass(frozen=True)
class Moving:
    """The tensors that may be in an optimizer's groups.

    Attributes:
        model: what they belong to.
        shared: one parameter that shares the memory of a problem's θ, where its first map has no parameters.
    """

    model: nn.Module | Problem
    shared: nn.Parameter | None = None

    @classmethod
    def of(cls, model: nn.Module | Problem, params: object) -> "Moving":
        """Raises InputError, where parameters of a problem are to be chosen: they are all of its θ."""
        if isinstance(model, nn.Module):
            return cls(model)
        if params is not None:
            raise InputError("the parameters of a problem are its θ: leave params out, GeoDescent(problem).")
        named = _parameters_of(model)
        return cls(model, None if named else nn.Parameter(model.blocks[0].map.theta.detach()))

    @property
    def own(self) -> list[Tensor]:
        """In the order of θ."""
        if self.shared is not None:
            return [self.shared]
        return list(self.model.parameters()) if isinstance(self.model, nn.Module) else _parameters_of(self.model)

    def groups(self, params: Iterable[Any] | Tensor | None) -> Any:
        """What torch's base class is given. Raises InputError, where that is nothing."""
        chosen = [p for p in self.own if p.requires_grad] if params is None else params
        chosen = chosen if isinstance(chosen, Tensor) else list(chosen)
        if isinstance(chosen, list) and not chosen:
            raise InputError(NOTHING_MOVES)
        return chosen

    def require_own(self, tensors: Sequence[Tensor]) -> None:
        """Raises InputError for a tensor that does not belong to the model."""
        own = {id(p) for p in self.own}
        for p in tensors:
            if id(p) not in own:
                raise InputError(
                    f"params holds a tensor of shape {tuple(p.shape)} that is no parameter of the model "
                    f"({type(self.model).__name__}): pass parameters of it, or the model that they belong to."
                )

    def of_groups(self, groups: list[dict[str, Any]]) -> list[Tensor]:
        """The parameters in the groups that require grad, in the order of θ.

        Raises InputError, where there are none; of a problem, where they are no longer all of its θ.
        """
        managed = {id(p) for group in groups for p in group["params"]}
        own = [p for p in self.own if p.requires_grad and id(p) in managed]
        if not own:
            raise InputError(NOTHING_MOVES)
        if isinstance(self.model, Problem) and len(own) < len(self.own):
            raise InputError(
                f"{len(self.own) - len(own)} of {len(self.own)} parameters of the problem no longer require grad, and "
                "they are its θ: make the problem again, GeoDescent(gd.Problem(…)), where others are to move."
            )
        return own

    def share(self, theta: Theta) -> None:
        """Shows θ in the one parameter of a map without parameters, also where that has memory of its own."""
        if self.shared is not None:
            with torch.no_grad():
                self.shared.copy_(theta)


def _parameters_of(problem: Problem) -> list[Tensor]:
    """The parameters of the modules of a problem; none where its first map has no modules."""
    outputs = problem.blocks[0].map
    named = list(outputs.parameters().values()) if isinstance(outputs, Parametrised) else []
    return named if all(isinstance(p, nn.Parameter) for p in named) else []
