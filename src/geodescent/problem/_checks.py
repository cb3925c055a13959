"""Checks of targets and weights, before any work."""

import math

import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent._types import Outputs
from geodescent.linalg import row_total
from geodescent.outputs import OutputMap, Sampled


def checked_target(outputs: OutputMap, target: Tensor) -> Outputs:
    """The targets as (N, Q), if they have that shape or exactly the outputs'; also (N,) for one output.

    Raises: InputError, with the shapes and what to do; nothing is ever broadcast.
    """
    expected = outputs.target_shape if isinstance(outputs, Sampled) else tuple(outputs.shape)
    n, q = expected[0], math.prod(expected[1:])
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
    if q > 1 and target.shape == (n,):
        raise InputError(
            f"y has shape {tuple(target.shape)} and the outputs have shape {expected}. If y holds class labels, pass "
            f"torch.nn.functional.one_hot(y.long(), {q}).to({outputs.dtype})."
        )
    if tuple(target.shape) not in (expected, (n, q)) and not (q == 1 and target.shape == (n,)):
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


def checked_weights(weights: Tensor | None, target: Outputs) -> Tensor | None:
    """The weights w ≥ 0, (N,), on the targets' device; None for ones."""
    if weights is None:
        return None
    if not isinstance(weights, Tensor):
        raise InputError(f"weights must be a tensor, not {type(weights).__name__}: convert with torch.as_tensor.")
    if weights.shape != (len(target),):
        raise InputError(f"weights has shape {tuple(weights.shape)}; one weight a sample is needed, ({len(target)},).")
    require_finite(weights, "weights")
    if bool((weights < 0).any()) or not row_total(weights) > 0.0:
        raise InputError(f"weights must be ≥ 0 with a positive sum; the smallest is {float(weights.min()):.3g}.")
    return weights.detach().to(target.device)


def require_finite(values: Tensor, what: str) -> None:
    """Raises InputError for NaN and infinite values, with their count."""
    if isinstance(values, Tensor) and not bool(torch.isfinite(values).all()):
        bad = int((~torch.isfinite(values)).sum())
        raise InputError(f"{what} holds {bad} NaN or infinite values of {values.numel()}. Remove or impute them.")
