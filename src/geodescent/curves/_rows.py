"""The rows of a fit: the formula's against the data, whitened by the data's covariance, changed by a loss."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geodescent._conversion import numbers_of
from geodescent._errors import InputError, JacobianError
from geodescent.curves._formula import Formula
from geodescent.curves._losses import Loss
from geodescent.curves._written_map import WrittenMap
from geodescent.outputs import FunctionMap
from geodescent.problem import Problem


@dataclass(frozen=True, eq=False)
class Whitening:
    """`W` with WᵀW = Σ⁻¹, Σ the covariance of the data.

    Attributes:
        inverse: 1/σ, (m,), or None.
        factor: the lower triangular L of Σ = LLᵀ, (m, m), or None: then W = L⁻¹.
    """

    inverse: Tensor | None = None
    factor: Tensor | None = None

    def __call__(self, rows: Tensor) -> Tensor:
        """W times the rows, (m,) or (m, k)."""
        if self.inverse is not None:
            return rows * (self.inverse if rows.dim() == 1 else self.inverse[:, None])
        if self.factor is None:
            return rows
        columns = rows[:, None] if rows.dim() == 1 else rows
        solved: Tensor = torch.linalg.solve_triangular(self.factor, columns, upper=False)
        return solved.reshape(rows.shape)


def whitening_of(sigma: object, m: int, device: torch.device) -> Whitening:
    """Of standard deviations, one or (m,), or a covariance matrix, (m, m). Raises InputError for anything else."""
    if sigma is None:
        return Whitening()
    given = real(sigma, "sigma")
    if given.shape not in ((), (1,), (m,), (m, m)):
        raise InputError(
            f"sigma has shape {given.shape}: one number, ({m},) or a covariance matrix ({m}, {m}) is needed."
        )
    if not np.isfinite(given).all():
        raise InputError("sigma has entries that are not finite: leave their data out.")
    if given.ndim == 2 and m > 1:
        factor, wrong = torch.linalg.cholesky_ex(torch.from_numpy(given))
        if int(wrong):
            raise InputError(
                f"sigma as a covariance matrix must be positive definite, and it is not in its row {int(wrong)}. Pass "
                "the standard deviations, np.sqrt(np.diag(sigma)), or a matrix that is."
            )
        return Whitening(factor=factor.to(device))
    if not (given > 0.0).all():
        raise InputError(
            f"sigma has {int((given <= 0.0).sum())} entries that are not positive: pass standard deviations."
        )
    return Whitening(inverse=torch.from_numpy(np.broadcast_to(1.0 / given.reshape(-1), (m,)).copy()).to(device))


def real(values: object, name: str) -> np.ndarray:
    """As float64. Raises InputError for complex numbers and for what are no numbers."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    if _are_complex(values):
        raise InputError(
            f"{name} is complex: pass real and imaginary parts one after the other, np.concatenate([z.real, z.imag]), "
            "and let the function return them so."
        )
    return numbers_of(values, name)


def _are_complex(values: object) -> bool:
    try:
        return bool(np.iscomplexobj(np.asarray(values)))
    except (TypeError, ValueError):
        return False  # what is wrong with them is said where they become numbers


@dataclass(frozen=True, eq=False)
class Rows:
    """What is fitted: `W(f(u) − y)`, changed by the loss.

    Attributes:
        formula: f.
        target: y, (m,); zeros for residuals.
        whiten: W.
        loss: of the whitened residual.
    """

    formula: Formula
    target: Tensor
    whiten: Whitening
    loss: Loss

    def residual(self, u: Tensor) -> Tensor:
        """`W(f(u) − y)`, (m,)."""
        return self.whiten(self._checked(self.formula.rows(u)) - self.target)

    def problem(self) -> Problem:
        """The least-squares problem of the free parameters."""
        first, derivative = self.formula.arrangement.first, self.formula.derivative()
        jacobian = None if derivative is None else self.jacobian
        target = self.whiten(self.target) if self.loss.is_linear else torch.zeros_like(self.target)
        if self.formula.differences is not None:
            return Problem.over(WrittenMap(self._fitted, self.jacobian, first.clone(), tuple(target.shape)), target)
        try:
            outputs = FunctionMap(self._fitted, first, jacobian=jacobian)
        except JacobianError as error:
            raise InputError(self._wrong_derivative(error)) from error
        return Problem.over(outputs, target)

    def jacobian(self, u: Tensor) -> Tensor:
        """D of what is fitted, (m, k), where torch does not compute it."""
        derivative = self.formula.derivative()
        assert derivative is not None
        rows = self.whiten(derivative(u))
        return rows if self.loss.is_linear else rows * self.loss.slope(self.residual(u))[:, None]

    def of_residual(self, fitted: Tensor, residual: Tensor) -> Tensor:
        """`∂ W(f − y)/∂u` from D of what is fitted."""
        return fitted if self.loss.is_linear else fitted / self.loss.slope(residual)[:, None]

    def _fitted(self, u: Tensor) -> Tensor:
        if self.loss.is_linear:
            return self.whiten(self._checked(self.formula.rows(u)))
        return self.loss.changed(self.residual(u))

    def _checked(self, rows: Tensor) -> Tensor:
        if len(rows) != len(self.target):
            name = self.formula.call.name
            raise InputError(
                f"{name} returns {len(rows)} numbers and there are {len(self.target)} data; nothing is broadcast. "
                f"Let {name} return one number for each, for example 0 * x + c for a constant c."
            )
        return rows

    def _wrong_derivative(self, error: JacobianError) -> str:
        name, first = self.formula.call.name, str(error).split(": ")[0]
        if self.formula.given is not None:
            return f"jac is not the derivative of {name} ({first}): correct it, or leave jac out."
        return f'{name} cannot be fitted as it is ({first}): keep the parameters tensors in it, or pass jac="2-point".'
