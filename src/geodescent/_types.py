"""Names of the objects, with their shapes, and the units that hold everywhere.

- N samples, Q outputs each, all outputs stacked sample-major: row `i·Q + q`, `m = N·Q` rows.
- Cost `C = ‖x − y‖² / (2N)`; with weights w the rows are multiplied by √w and `N = Σw`.
- Time is **τ = s/N**, s the paper's time: one unit is one e-fold of the residual. Nowhere else is a time defined.
- Damping μ is absolute, in the units of the Gram matrix; rcond is relative to σ_max(D), on σ.
"""

from typing import Any, TypeAlias

from torch import Tensor

Theta: TypeAlias = Tensor
"""Parameters, flat, `(K,)`."""

Outputs: TypeAlias = Tensor
"""Outputs, targets, residuals, velocities of outputs: `(N, Q)`, or stacked `(m,)`."""

Gram: TypeAlias = Tensor
"""`G = D Dᵀ`, `(m, m)`, sample-major; also cross blocks `(m, m')`."""

Operand: TypeAlias = Any
"""What torch's functions take: a tensor, a number, or what answers by `__torch_function__`; torch has no type."""
