"""What is fitted: named blocks of rows, each an output map and its target, stacked and weighted (THEORY §0)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geodescent._errors import InputError
from geodescent._types import Outputs, Theta
from geodescent.jacobian import Jacobian, stacked
from geodescent.linalg import dot, total
from geodescent.outputs import Inputs, SampleMap


@dataclass(frozen=True)
class RowBlock:
    """One named block of rows.

    Attributes:
        name: for certificates and statistics.
        map: the output map, N samples × Q outputs.
        target: y, (N, Q).
        weights: w ≥ 0, (N,), or None for ones.
    """

    name: str
    map: SampleMap
    target: Outputs
    weights: Tensor | None = None

    @property
    def total_weight(self) -> float:
        return float(len(self.target)) if self.weights is None else total(self.weights)


@dataclass(frozen=True)
class Problem:
    """`C = Σ_k ‖√w (x − y)‖²_k / (2N_k)` over blocks of rows that share θ.

    `row_scale` carries the weights: with it every formula of the one-block problem holds, `C = ‖s(x − y)‖²/(2N)`.
    """

    blocks: tuple[RowBlock, ...]

    @classmethod
    def of(
        cls,
        model: nn.Module,
        inputs: Inputs,
        target: Tensor,
        *,
        weights: Tensor | None = None,
        select: Callable[[Any], Tensor] | None = None,
        parameters: Iterable[Tensor] | None = None,
        check: bool = True,
    ) -> "Problem":
        """One block `data`: a module, its inputs and targets.

        Raises: InputError, before any work, for what cannot be fitted.
        """
        return cls.over(SampleMap(model, inputs, select=select, parameters=parameters, check=check), target, weights)

    @classmethod
    def over(cls, outputs: SampleMap, target: Tensor, weights: Tensor | None = None) -> "Problem":
        """One block `data`: a map that is there already, and its targets."""
        y = _checked_target(outputs, target)
        require_finite(y, "y")
        return cls((RowBlock("data", outputs, y, _checked_weights(weights, y)),))

    @property
    def n_samples(self) -> float:
        """N = Σw, over all blocks."""
        return sum(block.total_weight for block in self.blocks)

    @property
    def n_residuals(self) -> int:
        """m."""
        return sum(block.target.numel() for block in self.blocks)

    @property
    def n_rows_wanted(self) -> int:
        """m without rows of weight zero, which ask for nothing: what full row rank means."""
        return self.n_residuals if self.row_scale is None else int((self.row_scale > 0.0).sum())

    @property
    def n_outputs(self) -> int:
        """Q of the first block."""
        return self.blocks[0].map.n_outputs

    @property
    def n_params(self) -> int:
        """K."""
        return self.blocks[0].map.n_params

    @property
    def theta(self) -> Theta:
        return self.blocks[0].map.theta

    @property
    def target(self) -> Outputs:
        """y, (m,)."""
        return torch.cat([block.target.reshape(-1) for block in self.blocks])

    @property
    def row_scale(self) -> Outputs | None:
        """s, (m,): `√(w·N/N_k)` for the rows of block k, or None for ones."""
        if len(self.blocks) == 1 and self.blocks[0].weights is None:
            return None
        return torch.cat([self._scale_of(block) for block in self.blocks])

    def write(self, theta: Theta) -> None:
        """Copies θ into the module."""
        self.blocks[0].map.write(theta)

    def outputs(self, theta: Theta) -> Outputs:
        """`x[θ]`, (m,)."""
        return torch.cat([block.map(theta).reshape(-1) for block in self.blocks])

    def linearise(self, theta: Theta) -> tuple[Outputs, Jacobian]:
        """`x[θ]`, (m,), and D, rows not scaled."""
        pairs = [block.map.linearise(theta) for block in self.blocks]
        if len(pairs) == 1:
            return pairs[0][0].reshape(-1), pairs[0][1]
        return torch.cat([x.reshape(-1) for x, _ in pairs]), stacked([jacobian for _, jacobian in pairs])

    def second_derivative(self, theta: Theta, direction: Theta) -> Outputs:
        """`d²x[θ + t·direction]/dt²` at t = 0, (m,), rows not scaled."""
        return torch.cat([block.map.second_derivative(theta, direction).reshape(-1) for block in self.blocks])

    def residual(self, outputs: Outputs) -> Outputs:
        """`x − y`, (m,), rows not scaled."""
        return outputs - self.target

    def cost(self, outputs: Outputs) -> float:
        """`C = ‖s(x − y)‖²/(2N)`, summed in float64."""
        residual = self.residual(outputs).double()
        return self.cost_of(residual if self.row_scale is None else residual * self.row_scale)

    def cost_of(self, rows: Outputs) -> float:
        """`‖rows‖²/(2N)` of a residual whose rows are scaled already."""
        rows = rows.double()
        return dot(rows, rows) / (2.0 * self.n_samples)

    def _scale_of(self, block: RowBlock) -> Tensor:
        n, q = block.target.shape
        weights = torch.ones(n, dtype=torch.float64, device=block.target.device)
        weights = weights if block.weights is None else block.weights.double()
        ratio = self.n_samples / block.total_weight
        return (weights * ratio).sqrt().repeat_interleave(q)


def held_out(problem: Problem, inputs: Inputs, target: Tensor) -> Problem:
    """The same map on other samples: what a fit is judged on and never sees."""
    outputs = problem.blocks[0].map.on(inputs)
    y = _checked_target(outputs, target)
    require_finite(y, "the validation y")
    return Problem((RowBlock("held out", outputs, y),))


def batch_of(problem: Problem, inputs: Inputs, target: Tensor) -> Problem:
    """The same map on another batch of samples."""
    (block,) = problem.blocks
    outputs = block.map.on(inputs)
    y = _checked_target(outputs, target)
    require_finite(y, "the y of a batch")
    return Problem((RowBlock(block.name, outputs, y),))


def _checked_target(outputs: SampleMap, target: Tensor) -> Outputs:
    n, q = outputs.n_samples, outputs.n_outputs
    if not isinstance(target, Tensor):
        raise InputError(f"y must be a tensor, not {type(target).__name__}: convert with torch.as_tensor.")
    if target.dim() == 0 or len(target) != n:
        raise InputError(f"X holds {n} samples and y has shape {tuple(target.shape)}: y needs one row for each sample.")
    if not target.dtype.is_floating_point:
        if q > 1 and target.numel() == n and not target.dtype.is_complex:
            raise InputError(
                f"y holds {n} class labels as numbers ({target.dtype}) but the model has {q} outputs: "
                f"pass torch.nn.functional.one_hot(y, {q}).to({outputs.dtype})."
            )
        raise InputError(
            f"y is {target.dtype} but the model computes in {outputs.dtype}: convert, y.to({outputs.dtype})."
        )
    expected = (n, *outputs.output_shape)
    if q > 1 and target.shape == (n,):
        raise InputError(
            f"y has shape {tuple(target.shape)} and the outputs have shape {expected}. If y holds class labels, pass "
            f"torch.nn.functional.one_hot(y.long(), {q}).to({outputs.dtype})."
        )
    if tuple(target.shape) != expected and not (q == 1 and target.shape == (n,)):
        raise InputError(
            f"y has shape {tuple(target.shape)} and the outputs have shape {expected}; nothing is broadcast. "
            f"Reshape y to {expected}."
        )
    if target.dtype != outputs.dtype:
        raise InputError(
            f"y is {target.dtype} but the model computes in {outputs.dtype}: convert, y.to({outputs.dtype})."
        )
    if target.device != outputs.device:
        raise InputError(f"y is on {target.device} but the model is on {outputs.device}: move them to one device.")
    return target.detach().reshape(n, q)


def _checked_weights(weights: Tensor | None, target: Outputs) -> Tensor | None:
    if weights is None:
        return None
    if not isinstance(weights, Tensor):
        raise InputError(f"weights must be a tensor, not {type(weights).__name__}: convert with torch.as_tensor.")
    if weights.shape != (len(target),):
        raise InputError(f"weights has shape {tuple(weights.shape)}; one weight a sample is needed, ({len(target)},).")
    require_finite(weights, "weights")
    if bool((weights < 0).any()) or not total(weights) > 0.0:
        raise InputError(f"weights must be ≥ 0 with a positive sum; the smallest is {float(weights.min()):.3g}.")
    return weights.detach().to(target.device)


def require_finite(values: Tensor, what: str) -> None:
    """Raises InputError for NaN and infinite values, with their count."""
    if isinstance(values, Tensor) and not bool(torch.isfinite(values).all()):
        bad = int((~torch.isfinite(values)).sum())
        raise InputError(f"{what} holds {bad} NaN or infinite values of {values.numel()}. Remove or impute them.")
