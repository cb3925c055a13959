"""The Jacobian restricted to steps in the span of the inputs of its layers, which holds all that products need."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geodescent._types import Theta
from geodescent.jacobian._block import Block
from geodescent.jacobian._block_jacobian import BlockJacobian
from geodescent.jacobian._columns import Columns, DenseColumns
from geodescent.jacobian._jacobian import Jacobian
from geodescent.jacobian._layer_inputs import DenseInputs
from geodescent.jacobian._outer_columns import OuterColumns
from geodescent.jacobian._recorded_block import RecordedBlock

NARROWER = 1.5  # Times the rows of a layer's inputs: a layer is restricted where it has more inputs than this.
ROUNDINGS = 16.0  # Units in the last place, of the largest |a|²: added to AAᵀ, so that it is definite.


@dataclass(frozen=True)
class Spanned:
    """`D E` for steps `v = E z`, z of as many numbers as a batch determines.

    The gradient of a layer's matrix is a combination of the rows of its inputs A, (n, d), and so is every step that
    products with D and Dᵀ lead to. With n < d rows such a step is `Z L⁻¹A`, Z (o, n), where AAᵀ = LLᵀ: L⁻¹A has
    orthonormal rows, and D E is the Jacobian of a layer with the inputs `A(L⁻¹A)ᵀ`. These are L for independent inputs;
    of equal ones L has a difference that only rounding made. Other columns are taken as they are.

    Attributes:
        jacobian: D E.
        n_params: K.
        parts: for each piece of columns its entries of z, its index in θ, and L⁻¹A where it is restricted.
    """

    jacobian: BlockJacobian
    n_params: int
    parts: tuple[tuple[slice, Tensor, Tensor | None], ...]

    @classmethod
    def of(cls, jacobian: Jacobian) -> "Spanned | None":
        """None where pieces have parameters in common or by products or passes, or there are several blocks.

        Cost: of a restricted layer some 5n²d flops.
        """
        if len(jacobian.blocks) != 1:
            return None
        (block,), parts, pieces, start = jacobian.blocks, [], list[Columns](), 0
        if isinstance(block, RecordedBlock) and not block.is_made:
            return None
        if _share_parameters(block.columns, jacobian):
            return None
        for piece in block.columns:
            if not isinstance(piece, (DenseColumns, OuterColumns)):
                return None
            restricted = _restricted(piece)
            held: DenseColumns | OuterColumns
            held, basis = (piece, None) if restricted is None else restricted
            shape = (*piece.index.shape[:-1], piece.index.shape[-1] if basis is None else len(basis))
            index = torch.arange(start, start + torch.Size(shape).numel(), device=jacobian.device).view(shape)
            pieces.append(replace(held, index=index))
            parts.append((slice(start, start + index.numel()), piece.index, basis))
            start += index.numel()
        spanned = Block(tuple(pieces), block.n_samples, block.n_outputs)
        inner = BlockJacobian((spanned,), start, jacobian.dtype, jacobian.device)
        return cls(inner, jacobian.n_params, tuple(parts))

    def widened(self, z: Tensor) -> Theta:
        """`v = E z`, (K,)."""
        v = z.new_zeros(self.n_params)
        for where, index, basis in self.parts:
            step = z[where]
            if basis is not None:
                step = (step.view(len(index), -1) @ basis).reshape(-1)
            v[index.reshape(-1)] = step
        return v


def _share_parameters(columns: Sequence[Columns], jacobian: Jacobian) -> bool:
    """Whether two pieces have an entry of θ in common."""
    taken = torch.zeros(jacobian.n_params, dtype=torch.bool, device=jacobian.device)
    for piece in columns:
        taken[piece.index.reshape(-1)] = True
    return int(taken.sum()) < sum(piece.width for piece in columns)


def _restricted(piece: DenseColumns | OuterColumns) -> tuple[OuterColumns, Tensor] | None:
    """The piece with the inputs A(L⁻¹A)ᵀ, and L⁻¹A; None where it has too few inputs for that, or is no plain layer."""
    if not isinstance(piece, OuterColumns) or piece.scale is not None or not isinstance(piece.inputs, DenseInputs):
        return None
    n, p, d = piece.inputs.values.shape
    if d <= NARROWER * n * p:
        return None
    a = piece.inputs.values.flatten(0, 1)
    gram = a @ a.T
    gram.diagonal().add_(ROUNDINGS * torch.finfo(a.dtype).eps * float(gram.diagonal().max()))
    lower, failed = torch.linalg.cholesky_ex(gram)
    if bool(failed):
        return None
    basis = torch.linalg.solve_triangular(lower, a, upper=False)
    return replace(piece, inputs=DenseInputs((a @ basis.T).view(n, p, n * p))), basis
