"""What is fitted: named blocks of rows, each an output map and its target, stacked, and weighted once."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import cast

import torch
from torch import Tensor, nn

from geodescent._conversion import Values
from geodescent._errors import InputError
from geodescent._types import Outputs, Theta
from geodescent.jacobian import Jacobian, stacked
from geodescent.linalg import row_dot
from geodescent.outputs import AtPlaces, OutputMap, RawInputs, SampleMap, Select
from geodescent.problem._checks import (
    checked_linearisation,
    checked_rows,
)
from geodescent.problem._one_theta import require_one_theta
from geodescent.problem._row_block import RowBlock


@dataclass(frozen=True, eq=False)
class Problem:
    """`C = Σ_k λ_k ‖√w (x − y)‖²_k / (2N_k)` over blocks of rows that share θ.

    The rows are scaled once, in `linearise` and `residual`: with N = Σ_k N_k and the factor `s = √(λ_k w N/N_k)` on the
    rows of block k, every formula of the one-block problem holds, `C = ‖r‖²/(2N)` with `r = s(x − y)` and B = s D.

    Attributes:
        blocks: θ is that of the first block's map; the other maps have parameters of the same length, and of the same
            names and shapes in the same order where they are named.
        unknowns: name → entry of θ, of coefficients whose values are wanted with their standard errors.
        measured: names of the blocks whose targets were measured, with errors; those of others are exact.

    Raises: InputError, where blocks do not share θ, or have one name.
    """

    blocks: tuple[RowBlock, ...]
    unknowns: Mapping[str, int] = field(default_factory=dict)
    measured: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        blocks = tuple(self.blocks) if isinstance(self.blocks, Iterable) else ()
        object.__setattr__(self, "blocks", blocks)
        if not blocks or not all(isinstance(block, RowBlock) for block in blocks):
            raise InputError("a Problem needs blocks of rows: gd.Problem((gd.RowBlock('data', map, y),)).")
        names = [block.name for block in blocks]
        if len(set(names)) < len(names):
            raise InputError(f"the blocks are called {names}: each needs a name of its own.")
        for first, block in combinations(blocks, 2):
            of_first, of_block = f"block {first.name!r}", f"block {block.name!r}"
            require_one_theta(first.map, block.map, first_name=of_first, other_name=of_block)

    @classmethod
    def of(
        cls,
        model: nn.Module,
        inputs: RawInputs,
        target: Values,
        *,
        weights: Values | None = None,
        select: Select | None = None,
        parameters: Iterable[Tensor] | None = None,
        check: bool = True,
    ) -> "Problem":
        """One block `data`: a module, its inputs and targets.

        Raises: InputError, before any work, for what cannot be fitted.
        """
        return cls.over(SampleMap(model, inputs, select=select, parameters=parameters, check=check), target, weights)

    @classmethod
    def over(cls, outputs: OutputMap, target: Values, weights: Values | None = None) -> "Problem":
        """One block `data`: an existing map and its targets."""
        return cls((RowBlock("data", outputs, cast(Tensor, target), cast(Tensor | None, weights)),))

    @property
    def notes(self) -> list[str]:
        """What was converted or unwrapped, each sentence once."""
        return list(dict.fromkeys(note for block in self.blocks for note in block.notes))

    @cached_property
    def n_samples(self) -> float:
        """N = Σw, over all blocks."""
        return sum(block.total_weight for block in self.blocks)

    @property
    def n_residuals(self) -> int:
        """m."""
        return sum(block.target.numel() for block in self.blocks)

    @property
    def has_equations(self) -> bool:
        """Whether rows are equations at places, which a solution makes zero all at once."""
        return any(isinstance(block.map, AtPlaces) for block in self.blocks)

    @property
    def n_rows_wanted(self) -> int:
        """m without rows of weight zero, which have no effect: full row rank means this rank."""
        return self.n_residuals if self._scale is None else int((self._scale > 0.0).sum())

    @cached_property
    def n_params(self) -> int:
        """K."""
        outputs = self.blocks[0].map
        return outputs.n_params if isinstance(outputs, SampleMap) else len(outputs.theta)

    @property
    def dtype(self) -> torch.dtype:
        """Of parameters and outputs."""
        return self.blocks[0].map.dtype

    @property
    def device(self) -> torch.device:
        """Of parameters and outputs."""
        return self.blocks[0].map.device

    @property
    def theta(self) -> Theta:
        """The current parameters of the first map, a copy, (K,)."""
        outputs = self.blocks[0].map
        return outputs.theta if isinstance(outputs, SampleMap) else outputs.theta.detach().clone()

    @cached_property
    def target(self) -> Outputs:
        """y, (m,)."""
        return torch.cat([block.target.reshape(-1) for block in self.blocks])

    @cached_property
    def _scale(self) -> Outputs | None:
        """s, (m,): `√(λ w N/N_k)` for the rows of block k, in float64; None for ones."""
        if len(self.blocks) == 1 and self.blocks[0].is_plain:
            return None
        return torch.cat([self._scale_of(block) for block in self.blocks])

    def write(self, theta: Theta) -> None:
        """Makes θ the current parameters of all maps."""
        for block in self.blocks:
            block.map.write(theta)

    def outputs(self, theta: Theta) -> Outputs:
        """`x[θ]`, (m,)."""
        return torch.cat([checked_rows(block.map, block.map(theta), "__call__") for block in self.blocks])

    def linearise(self, theta: Theta, *, dtype: torch.dtype | None = None) -> tuple[Outputs, Jacobian]:
        """`r = s(x − y)`, (m,), and `B = s D`: the weighted residual and its Jacobian.

        Args:
            theta: (K,).
            dtype: of both; None for the maps' own.

        Raises: InputError, where a map returns what its shape, dtype or device do not allow.
        """
        pairs = [checked_linearisation(block.map, theta) for block in self.blocks]
        outputs = torch.cat([x for x, _ in pairs])
        dtype = self.dtype if dtype is None else dtype
        jacobian = stacked([jacobian for _, jacobian in pairs]).to(dtype)
        return self.residual_of(outputs, dtype=dtype), jacobian.scaled(rows=self._scale_in(dtype))

    def second_derivative(self, theta: Theta, direction: Theta, *, dtype: torch.dtype | None = None) -> Outputs:
        """`s d²x[θ + t·direction]/dt²` at t = 0, (m,)."""
        maps = [block.map for block in self.blocks]
        parts = [checked_rows(x, x.second_derivative(theta, direction), "second_derivative") for x in maps]
        rows = torch.cat(parts)
        return self.weighted(rows if dtype is None else rows.to(dtype))

    def residual(self, theta: Theta, *, dtype: torch.dtype | None = None) -> Outputs:
        """`r = s(x − y)`, (m,): one forward pass."""
        return self.residual_of(self.outputs(theta), dtype=self.dtype if dtype is None else dtype)

    def residual_of(self, outputs: Outputs, *, dtype: torch.dtype) -> Outputs:
        """The same for given outputs, (m,)."""
        return self.weighted((outputs - self.target).to(dtype))

    def sample_weights(self, block: RowBlock) -> Tensor:
        """`λ w N/N_k` of the samples of a block, (N_k,), in float64: what their squares are multiplied by in `2N·C`."""
        weights = torch.ones(block.n_samples, dtype=torch.float64, device=block.target.device)
        weights = weights if block.weights is None else block.weights.double()
        ratio = block.weight * self.n_samples / block.total_weight
        return weights * ratio

    def weighted(self, rows: Outputs) -> Outputs:
        """`s · rows`, (m,)."""
        scale = self._scale_in(rows.dtype)
        return rows if scale is None else rows * scale

    def cost(self, theta: Theta) -> float:
        """C, summed in float64: one forward pass."""
        return self.cost_of(self.residual(theta, dtype=torch.float64))

    def cost_of(self, rows: Outputs) -> float:
        """`‖rows‖²/(2N)` of a weighted residual."""
        rows = rows.double()
        return row_dot(rows, rows) / (2.0 * self.n_samples)

    def block_rms(self, theta: Theta, cost: float) -> dict[str, float]:
        """The root of the mean square of x − y in each block, unweighted, over the rows of positive weight.

        Args:
            theta: where.
            cost: C there, which for one unweighted block gives the result without a forward pass.
        """
        if self._scale is None:
            return {self.blocks[0].name: math.sqrt(2.0 * cost / self.blocks[0].n_outputs)}
        sizes = [block.target.numel() for block in self.blocks]
        counted = torch.split(self._scale > 0.0, sizes)
        squares = torch.split((self.outputs(theta) - self.target).double().square(), sizes)
        parts = zip(self.blocks, squares, counted, strict=True)
        return {block.name: math.sqrt(float(part[rows].mean())) for block, part, rows in parts}

    def _scale_in(self, dtype: torch.dtype) -> Outputs | None:
        return None if self._scale is None else self._scale.to(dtype)

    def _scale_of(self, block: RowBlock) -> Tensor:
        return self.sample_weights(block).sqrt().repeat_interleave(block.n_outputs)
