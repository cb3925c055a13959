"""The normal matrix `DᵀD` of a block of rows: by rows, or with the outputs summed first where there are several."""

from collections.abc import Iterator
from typing import TypeGuard

import torch
from torch import Tensor

from geodescent._budget import budget
from geodescent._deadline import require_time
from geodescent.jacobian._columns import Columns
from geodescent.jacobian._gram import chunks
from geodescent.jacobian._outer_columns import OuterColumns
from geodescent.jacobian._recorded_block import AnyBlock
from geodescent.jacobian._room import require_room

BY_PRODUCTS = "Use gd.KrylovLift(), which forms no matrix of the parameters."


def add_normal(block: AnyBlock, out: Tensor) -> None:
    """Adds `DᵀD` of the block to `out`, (K, K); what lies above the diagonal is left to be mirrored.

    Cost: N·K²/2 multiply-adds by rows for one output; about N·K² for any number of them, where layers have one
    position: `Σ_q (g_q ⊗ a)(g'_q ⊗ a')ᵀ = (Σ_q g_q g'_qᵀ) ⊗ a a'ᵀ`.
    """
    if block.n_outputs == 1:
        for rows in row_chunks(block, out.shape[1], like=out):
            for strip in chunks(len(out), budget().tile_rows):
                out[strip, : strip.stop].addmm_(rows[:, strip].T, rows[:, : strip.stop])
            del rows  # the next ones need the memory
        return
    for i, left in enumerate(block.columns):
        for right in block.columns[: i + 1]:
            product = _product(left, right, block.n_samples, block.n_outputs, out.dtype)
            require_room(2 * product.numel(), product, "an update of the normal matrix", BY_PRODUCTS)
            where, where2 = left.index.reshape(-1), right.index.reshape(-1)
            out[where[:, None], where2] += product
            if right is not left:
                out[where2[:, None], where] += product.T


def row_chunks(block: AnyBlock, n_params: int, *, like: Tensor) -> Iterator[Tensor]:
    """The rows of D, (n·Q, K), in chunks of whole samples."""
    for chunk in chunks(block.n_samples, budget().rows_numbers // max(1, block.n_outputs * n_params)):
        require_time("the rows of D")
        part = block.samples(chunk)
        require_room(part.n_rows * n_params, like, "rows of D")
        rows = like.new_zeros(part.n_rows, n_params)
        for piece in part.columns:
            piece.add_dense(rows)
        yield rows
        del rows  # the next ones need the memory


def _product(left: Columns, right: Columns, n_samples: int, n_outputs: int, dtype: torch.dtype) -> Tensor:
    """`Σ_nq D_nq D'_nqᵀ` of two pieces of the columns, (k, k')."""
    (o, d), (o2, d2) = _shape(left), _shape(right)
    out = torch.zeros(0, device="cpu")
    held = n_outputs * (o + o2) + d * d2 + (o * o2 if d * d2 > 1 else 0)  # numbers a sample
    most, like = min(budget().rows_numbers, n_samples * held), torch.empty(0, dtype=dtype, device=left.index.device)
    require_room(most + 3 * o * o2 * d * d2, like, "a product for the normal matrix", BY_PRODUCTS)
    for chunk in chunks(n_samples, budget().rows_numbers // held):
        require_time("the normal matrix")
        (g, a), (g2, a2) = _factors(left.samples(chunk)), _factors(right.samples(chunk))
        if a is None and a2 is None:
            part = g.flatten(0, 1).T @ g2.flatten(0, 1)
        else:
            by_sample = (g.transpose(1, 2) @ g2).flatten(1)
            part = by_sample.T @ _inputs(a, a2)
        out = part if chunk.start == 0 else out.add_(part)
    return out.view(o, o2, d, d2).transpose(1, 2).reshape(o * d, o2 * d2)


def _factors(columns: Columns) -> tuple[Tensor, Tensor | None]:
    """g (N, Q, o) and a (N, d) of `D[(n,q), (o,d)] = g a`; a is None for the constant 1 of rows that are formed."""
    if _is_one_product(columns):
        return columns.cotangents.dense()[:, :, 0], columns.inputs.dense()[:, 0]
    return columns.rows().values, None


def _inputs(a: Tensor | None, a2: Tensor | None) -> Tensor:
    """`a ⊗ a'` of each sample, (N, d·d'), of which one may be the constant 1."""
    factors = [part for part in (a, a2) if part is not None]
    return factors[0] if len(factors) == 1 else (factors[0][:, :, None] * factors[1][:, None]).flatten(1)


def _shape(columns: Columns) -> tuple[int, int]:
    return (columns.index.shape[0], columns.index.shape[1]) if _is_one_product(columns) else (columns.width, 1)


def _is_one_product(columns: Columns) -> TypeGuard[OuterColumns]:
    """Whether the columns of a sample are one outer product; those of several positions are formed."""
    return isinstance(columns, OuterColumns) and columns.inputs.positions == 1 and columns.scale is None
