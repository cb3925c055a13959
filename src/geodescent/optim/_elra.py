"""ELRA as an optimizer of torch: plain gradient descent whose rate is set by the angle between two gradients."""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from typing import Any, Literal, cast

import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent.optim._rates import CosineRate, ParabolaRate, Products

FIRST_RATE = 1e-5
VARIANTS: dict[str, type[CosineRate] | type[ParabolaRate]] = {"p2min": ParabolaRate, "c2min": CosineRate}


class ELRA(torch.optim.Optimizer):
    """Gradient descent, `θ ← θ − α·direction`, with α set by what the last step brought: no rate to tune.

        optimizer = gd.optim.ELRA(model.parameters())
        loss = optimizer.step(closure)      # closure() -> loss, after zero_grad() and backward(), as for L-BFGS

    A step that raised the loss too much is taken back and taken again, shorter. Nothing enters but inner products of
    gradients over all parameters together: the path does not depend on their coordinates.

    Args:
        params: parameters or groups, as everywhere in torch.optim; all share one rate.
        variant: `p2min`, the minimum of the parabola through two gradients (`ParabolaRate`); `c2min`, a rate that
            grows and shrinks with their cosine, and momentum (`CosineRate`).
        lr: the first rate. The one at work lies in `state` under the first parameter, as `rate`.

    Raises: InputError, where the variant is unknown, or the loss at the start negative or not finite.
    Cost: one gradient a step; two copies of the parameters, with momentum three.
    Source: arXiv:2309.06274.
    """

    def __init__(
        self, params: Iterable[Any] | Tensor, variant: Literal["p2min", "c2min"] = "p2min", *, lr: float = FIRST_RATE
    ) -> None:
        if variant not in VARIANTS:
            raise InputError(f"variant = {variant!r}: p2min and c2min are known.")
        if not (math.isfinite(lr) and lr > 0.0):
            raise InputError(f"lr = {lr}: the first rate must be positive and finite, such as {FIRST_RATE}.")
        super().__init__(cast(Any, params), {"lr": lr, "variant": variant})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor | float]) -> float:  # type: ignore[override]
        """One gradient and one move; the loss before the move."""
        with torch.enable_grad():
            said = closure()
        loss = said.item() if isinstance(said, Tensor) else float(said)
        moving: list[Tensor] = [p for group in self.param_groups for p in group["params"] if p.requires_grad]
        if not moving:
            raise InputError("none of the parameters requires grad: there is nothing to descend on.")
        numbers = self._numbers(self.state[moving[0]])
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in moving]
        if numbers is None:
            numbers = self._at_start(loss)
            self._move(moving, gradients, numbers)
        else:
            numbers = self._judged(moving, gradients, numbers, loss)
        self.state[moving[0]].update(asdict(numbers))
        return loss

    def _at_start(self, loss: float) -> CosineRate | ParabolaRate:
        if not (math.isfinite(loss) and loss >= 0.0):
            raise InputError(f"the loss at the start is {loss}: losses are compared by ratios, from a finite one ≥ 0.")
        group = self.param_groups[0]
        return VARIANTS[group["variant"]].at_start(group["lr"], loss)

    def _numbers(self, kept: dict[str, Any]) -> CosineRate | ParabolaRate | None:
        """What the last step left, or None before the first."""
        if "rate" not in kept:
            return None
        variant = VARIANTS[self.param_groups[0]["variant"]]
        return variant(**{f.name: kept[f.name] for f in fields(variant)})

    def _judged(
        self, moving: list[Tensor], gradients: list[Tensor], numbers: CosineRate | ParabolaRate, loss: float
    ) -> CosineRate | ParabolaRate:
        """The next step, or the last one again and shorter."""
        before, n_params = [self.state[p]["gradient"] for p in moving], sum(p.numel() for p in moving)
        square = _dot(before, before)
        if not numbers.accepts(loss, n_params):
            after = numbers.taken_back(loss, square, n_params)
            for p in moving:
                p.copy_(torch.lerp(self.state[p]["point"], p, after.rate / numbers.rate))
            return after
        turned = _dot([b - g for b, g in zip(before, gradients, strict=True)], before)
        products = Products(square, turned, _dot(gradients, gradients))
        after = numbers.taken(loss, products, n_params)
        self._move(moving, gradients, after)
        return after

    def _move(self, moving: list[Tensor], gradients: list[Tensor], numbers: CosineRate | ParabolaRate) -> None:
        """`θ ← θ − α[(1 − β)g + βm]`, `m ← 0.8m + 0.2g₋`; at the start m = g₋ = g."""
        for p, gradient in zip(moving, gradients, strict=True):
            kept, way = self.state[p], gradient
            if numbers.has_momentum:
                before = kept.get("gradient", gradient)
                kept["momentum"] = torch.lerp(kept.get("momentum", before), before, 0.2)
                way = torch.lerp(gradient, kept["momentum"], numbers.inertia)
            kept["point"], kept["gradient"] = p.clone(), gradient.clone()
            p.sub_(way, alpha=numbers.rate)


def _dot(a: list[Tensor], b: list[Tensor]) -> float:
    """Over all parameters, in float64."""
    return math.fsum(float(torch.dot(x.flatten().double(), y.flatten().double())) for x, y in zip(a, b, strict=True))
