"""Laws that hold for every Jacobian and every model, as functions that assert them."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from geodescent.jacobian import Jacobian


def naive_jacobian(model: nn.Module, inputs: Any) -> Tensor:
    """`D` (m, K), one `autograd.grad` a row on the module's own parameters: the oracle."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    outputs = called(model, inputs).reshape(-1)
    rows = []
    for output in outputs:
        gradients = torch.autograd.grad(output, parameters, retain_graph=True, allow_unused=True)
        pairs = zip(gradients, parameters, strict=True)
        rows.append(torch.cat([(torch.zeros_like(p) if g is None else g.to_dense()).reshape(-1) for g, p in pairs]))
    return torch.stack(rows)


def called(model: nn.Module, inputs: Any) -> Tensor:
    return functional_call(model, {}, *(((), inputs) if isinstance(inputs, dict) else (inputs,)))


def assert_close(actual: Tensor, expected: Tensor, tol: float) -> None:
    """‖actual − expected‖ ≤ tol·‖expected‖, and the same shape."""
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    difference = float(torch.linalg.vector_norm(actual - expected))
    assert difference <= tol * float(torch.linalg.vector_norm(expected)), difference


def assert_same_products(jacobian: Jacobian, dense: Tensor, tol: float) -> None:
    """What every Jacobian can do, also one whose rows are never held, is what it is of the dense D."""
    m, k = dense.shape
    assert (*jacobian.shape, jacobian.n_residuals, jacobian.n_params) == (m, k, m, k)
    v, u = _direction(dense, k), _direction(dense, m)
    assert_close(jacobian.dense(), dense, tol)
    assert_close(jacobian.mv(v), dense @ v, tol)
    assert_close(jacobian.rmv(u), dense.T @ u, tol)
    assert_close(jacobian.rmv(u.view(-1, 1)), dense.T @ u, tol)
    assert_close(jacobian.normal(), dense.T @ dense, tol)
    assert_close(jacobian.row_squares(), dense.square().sum(1), tol)
    assert_close(torch.cat(list(jacobian.row_chunks())), dense, tol)
    compact = jacobian.compact()
    assert (compact is jacobian) == (not jacobian.blocks or _outputs(jacobian) != [1])
    assert_close(compact.mv(v), dense @ v, tol)
    assert_close(compact.rmv(u), dense.T @ u, tol)
    assert_close(compact.normal(), dense.T @ dense, tol)


def assert_same_jacobian(jacobian: Jacobian, dense: Tensor, tol: float) -> None:
    """Every verb of a Jacobian that holds its rows is what it is of the dense D."""
    assert_same_products(jacobian, dense, tol)
    assert_close(jacobian.gram(), dense @ dense.T, tol)
    assert_close(jacobian.gram(jacobian), dense @ dense.T, tol)
    for q in _outputs(jacobian) if len(_outputs(jacobian)) == 1 else ():
        u = _direction(dense, len(dense))
        assert_close(jacobian.rmv(u.view(-1, q)), dense.T @ u, tol)


def assert_mean_gram(jacobian: Jacobian, dense: Tensor, tol: float) -> None:
    """K̄ is the average of the output blocks of G; between samples with different numbers of outputs it is zero."""
    parts = dense.split([block.n_rows for block in jacobian.blocks])
    sizes = [block.n_samples for block in jacobian.blocks]
    expected = dense.new_zeros(sum(sizes), sum(sizes))
    for q in _outputs(jacobian):
        rows = [p.view(n, -1, p.shape[1]) for p, n in zip(parts, sizes, strict=True)]
        samples = torch.cat([torch.full((r.shape[0],), r.shape[1] == q) for r in rows])
        own = torch.cat([r for r in rows if r.shape[1] == q])
        expected[samples[:, None] & samples] = (torch.einsum("iqk,jqk->ij", own, own) / q).reshape(-1)
    assert_close(jacobian.mean_gram(), expected, tol)


def assert_mixed(jacobian: Jacobian, dense: Tensor, tol: float) -> None:
    """The outputs' coupling is Σ_i D_i D_iᵀ, and other outputs are combinations of rows."""
    (q,) = _outputs(jacobian)
    by_sample = dense.view(-1, q, dense.shape[1])
    assert_close(jacobian.coupling(), (by_sample @ by_sample.transpose(1, 2)).sum(0), tol)
    matrix = _direction(dense, 2 * q).view(q, 2)
    mixed = torch.einsum("nqk,qr->nrk", by_sample, matrix)
    assert_close(jacobian.mixed(matrix).dense(), mixed.reshape(-1, dense.shape[1]), tol)
    blocks = _direction(dense, 2 * dense.shape[0]).view(-1, q, 2)
    mixed = torch.einsum("nqk,nqr->nrk", by_sample, blocks)
    assert_close(jacobian.mixed(blocks).dense(), mixed.reshape(-1, dense.shape[1]), tol)


def assert_adjoint(jacobian: Jacobian, tol: float) -> None:
    """⟨Dv, u⟩ = ⟨v, Dᵀu⟩."""
    m, k = jacobian.shape
    v, u = _direction(jacobian, k), _direction(jacobian, m)
    left, right = float(jacobian.mv(v) @ u), float(v @ jacobian.rmv(u))
    size = float(torch.linalg.vector_norm(jacobian.mv(v)) * torch.linalg.vector_norm(u))
    assert abs(left - right) <= tol * size


def assert_symmetric_positive(gram: Tensor, tol: float) -> None:
    """G = Gᵀ exactly, and no eigenvalue below zero to rounding."""
    assert torch.equal(gram, gram.T)
    values = torch.linalg.eigvalsh(gram.double())
    assert values[0] >= -tol * values[-1]


def assert_cross_blocks(left: Jacobian, right: Jacobian, tol: float) -> None:
    """G between two sets of samples is D D'ᵀ, and its transpose is the block the other way round."""
    expected = left.dense() @ right.dense().T
    assert_close(left.gram(right), expected, tol)
    assert_close(right.gram(left), expected.T, tol)


def assert_scaled(jacobian: Jacobian, tol: float) -> None:
    """diag(rows) D diag(columns), in every verb, also for the two alone and one after the other."""
    m, k = jacobian.shape
    dense = jacobian.dense()
    rows, columns = _direction(dense, m).abs() + 0.5, _direction(dense, k).abs() + 0.5
    assert_same_jacobian(jacobian.scaled(rows=rows), rows[:, None] * dense, tol)
    assert_same_jacobian(jacobian.scaled(columns=columns), dense * columns, tol)
    both = rows[:, None] * dense * columns
    assert_same_jacobian(jacobian.scaled(rows=rows, columns=columns), both, tol)
    assert_same_jacobian(jacobian.scaled(columns=columns).scaled(columns=columns), dense * columns**2, tol)
    assert_mean_gram(jacobian.scaled(rows=rows, columns=columns), both, tol)
    if len(_outputs(jacobian)) == 1:
        assert_mixed(jacobian.scaled(rows=rows, columns=columns), both, tol)
    assert_cross_blocks(jacobian.scaled(columns=columns), jacobian, tol)
    assert_same_jacobian(jacobian.scaled(columns=torch.full_like(columns, 2.0)), 2.0 * dense, tol)
    assert jacobian.scaled() is jacobian


def assert_scaled_rows(jacobian: Jacobian, tol: float) -> None:
    """diag(rows) D in every product, alone and one after the other."""
    dense = jacobian.dense()
    rows = _direction(dense, len(dense)).abs() + 0.5
    assert_same_products(jacobian.scaled(rows=rows), rows[:, None] * dense, tol)
    assert_same_products(jacobian.scaled(rows=rows).scaled(rows=rows), rows.square()[:, None] * dense, tol)


def assert_precision(jacobian: Jacobian, tol: float) -> None:
    """In another precision everything that is returned is in it, also of rows that were scaled before."""
    m, k = jacobian.shape
    dense, dtype = jacobian.dense(), torch.float32 if jacobian.dtype == torch.float64 else torch.float64
    assert dense.dtype == jacobian.dtype and jacobian.scaled(rows=_direction(dense, m)).dtype == jacobian.dtype
    rows = _direction(dense, m).abs() + 0.5
    other = jacobian.scaled(rows=rows).to(dtype)
    expected = (rows[:, None] * dense).to(dtype)
    assert other.dtype == dtype
    assert other.mv(_direction(expected, k)).dtype == other.rmv(_direction(expected, m)).dtype == dtype
    assert other.row_squares().dtype == other.normal().dtype == other.compact().dense().dtype == dtype
    assert_same_products(other, expected, tol)


def _outputs(jacobian: Jacobian) -> list[int]:
    """The numbers of outputs a sample that its blocks have."""
    return sorted({block.n_outputs for block in jacobian.blocks})


def _direction(like: Tensor | Jacobian, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(size)
    return torch.randn(size, generator=generator, dtype=torch.float64).to(like.device, like.dtype)
