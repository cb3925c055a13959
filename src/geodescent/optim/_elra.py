"""ELRA as an optimizer of torch: plain gradient descent whose rate is set by the angle between two gradients."""

import math
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Literal

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from geodescent._errors import InputError
from geodescent._settings import Number
from geodescent.optim._rates import CosineRate, ParabolaRate, Products

FIRST_RATE = 1e-5  # In units of θ²/loss: the rate of the first step, as published.
Rate = CosineRate | ParabolaRate
RATE = Number("the first rate must be positive and finite", lambda x: 0.0 < x < math.inf, FIRST_RATE)
VARIANTS: dict[str, type[CosineRate] | type[ParabolaRate]] = {"p2min": ParabolaRate, "c2min": CosineRate}


class ELRA(torch.optim.Optimizer):
    """Gradient descent, `θ ← θ − α·direction`, with α set by what the last step brought: no rate to tune.

        optimizer = gd.optim.ELRA(model.parameters())
        loss = optimizer.step(closure)      # closure() -> loss, after zero_grad() and backward(), as for L-BFGS

    A step that raised the loss too much is taken back and taken again, shorter. Nothing enters but losses and inner
    products of gradients over all parameters together: the path does not depend on their coordinates. The losses must
    be those of one function: on minibatches, or where the loss changes its scale, steps are taken back for no reason of
    the parameters', and the rate may shrink to nothing.

    Args:
        params: parameters or groups, as everywhere in torch.optim; all groups share one rate and one variant.
        variant: `p2min`, the minimum of the parabola through two gradients (`ParabolaRate`); `c2min`, a rate that
            grows and shrinks with their cosine, and momentum (`CosineRate`).
        lr: the first rate; ELRA sets all others, so that a scheduler of it does nothing. The one at work lies in
            `state` under the first parameter, as `rate`; the point where the last step began, under each, as `point`.

    Raises:
        InputError: before any move, for an unknown variant, a loss that is negative or not finite at the start, and
            where no parameter has a gradient.

    Cost: one gradient a step; two copies of the parameters, with momentum three, and one more while it steps.
    Source: arXiv:2309.06274.
    """

    def __init__(
        self, params: ParamsT, variant: Literal["p2min", "c2min"] = "p2min", *, lr: float = FIRST_RATE
    ) -> None:
        super().__init__(params, {"lr": lr, "variant": variant})
        self._variant(), self._first_rate()

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor | float]) -> float:  # type: ignore[override]
        """One gradient and one move; the loss before the move."""
        with torch.enable_grad():
            answer = closure()
        loss = answer.item() if isinstance(answer, Tensor) else float(answer)
        moving: list[Tensor] = [p for group in self.param_groups for p in group["params"] if p.requires_grad]
        if all(p.grad is None for p in moving):
            raise InputError("no parameter has a gradient: the closure calls backward() before it returns the loss.")
        if loss < 0.0:
            raise InputError(f"the loss is {loss}: losses are compared by ratios and must not be negative.")
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in moving]
        square, before = _dot(gradients, gradients), self._before(moving)
        if before is not None:
            after = self._judged(moving, gradients, square, before, loss)
        elif math.isfinite(loss) and math.isfinite(square):
            after = self._at_start(loss)
            self._move(moving, gradients, after)
        else:
            raise InputError(f"the loss at the start is {loss}, ‖∇‖² there {square}: both must be finite.")
        self.state[self._first].update(asdict(after), n_params=_count(moving))
        return loss

    @property
    def _first(self) -> Tensor:
        """The parameter that the numbers are kept under."""
        first: Tensor = self.param_groups[0]["params"][0]
        return first

    def _variant(self) -> str:
        """The one variant of all groups."""
        variants = {g["variant"] for g in self.param_groups}
        if len(variants) > 1:
            raise InputError(f"the groups ask for {variants}: all take one step together, by one rule.")
        (variant,) = variants
        if variant not in VARIANTS:
            raise InputError(f"variant = {variant!r}: p2min and c2min are known.")
        return str(variant)

    def _first_rate(self) -> float:
        """The one first rate of all groups: a scheduler may change it later, which does nothing."""
        rates = {RATE.of("lr", g.get("initial_lr", g["lr"])) for g in self.param_groups}
        if len(rates) > 1:
            raise InputError(f"the groups ask for lr {rates}: all take one step together, of one rate.")
        (rate,) = rates
        return rate

    def _at_start(self, loss: float) -> Rate:
        """Where nothing is known of these parameters together."""
        self.state.clear()
        return VARIANTS[self._variant()].at_start(self._first_rate(), loss)

    def _before(self, moving: list[Tensor]) -> Rate | None:
        """What the last step left, or None where there was none, or one of other parameters."""
        kept = self.state[self._first]
        if kept.get("n_params") != _count(moving) or not all("gradient" in self.state[p] for p in moving):
            return None
        variant = VARIANTS[self._variant()]
        return variant(**{f.name: kept[f.name] for f in fields(variant)})

    def _judged(self, moving: list[Tensor], gradients: list[Tensor], square: float, numbers: Rate, loss: float) -> Rate:
        """The next step; or, from where it began, the last one again and shorter."""
        last = [self.state[p]["gradient"] for p in moving]
        before = _dot(last, last)
        if math.isfinite(square) and numbers.accepts(loss, _count(moving)):
            turned = _dot([b - g for b, g in zip(last, gradients, strict=True)], last)
            products = Products(before, turned, _dot(gradients, last), square)
            after = numbers.taken(loss, products, _count(moving))
            self._move(moving, gradients, after)
            return after
        after = numbers.taken_back(loss, before)
        for p in moving:
            kept = self.state[p]
            p.copy_(kept["point"]).sub_(_way(kept, after), alpha=after.rate)
        return after

    def _move(self, moving: list[Tensor], gradients: list[Tensor], numbers: Rate) -> None:
        """`θ ← θ − α[(1 − β)g + βm]`, `m ← 0.8m + 0.2g₋`; at the start m = g₋ = g."""
        for p, gradient in zip(moving, gradients, strict=True):
            kept = self.state[p]
            if numbers.has_momentum:
                before = kept.get("gradient", gradient)
                kept["momentum"] = torch.lerp(kept.get("momentum", before), before, 0.2)
            kept["point"], kept["gradient"] = p.clone(), gradient.clone()
            p.sub_(_way(kept, numbers), alpha=numbers.rate)


def _way(kept: dict[str, Tensor], numbers: Rate) -> Tensor:
    """The direction of the step from the point that is kept."""
    gradient = kept["gradient"]
    return torch.lerp(gradient, kept["momentum"], numbers.inertia) if numbers.has_momentum else gradient


def _count(moving: list[Tensor]) -> int:
    return sum(p.numel() for p in moving)


def _dot(a: list[Tensor], b: list[Tensor]) -> float:
    """Over all parameters, in float64."""
    return sum(float(torch.dot(x.flatten().double(), y.flatten().double())) for x, y in zip(a, b, strict=True))
