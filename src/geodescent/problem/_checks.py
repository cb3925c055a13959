"""Checks of maps, targets and weights before any work, and of what a map returns."""

import math

import torch
from torch import Tensor

from geodescent._conversion import Values, tensor_of
from geodescent._errors import InputError
from geodescent._types import Outputs, Theta
from geodescent.jacobian import BlockJacobian, Jacobian
from geodescent.linalg import row_total
from geodescent.outputs import OfModule, OutputMap, Sampled, is_declared, require_plain


def require_map(outputs: OutputMap) -> None:
    """Raises InputError, where a map's shape, dtype or device are not what the sizes and types of tensors are."""
    if is_declared(outputs):
        return
    theta, shape, kind = outputs.theta, outputs.shape, type(outputs).__name__
    if not isinstance(theta, Tensor) or theta.dim() != 1:
        found = f"shape {tuple(theta.shape)}" if isinstance(theta, Tensor) else type(theta).__name__
        raise InputError(f"the theta of {kind} is {found}: a flat tensor (K,) is needed.")
    if not (isinstance(shape, tuple) and shape and all(isinstance(n, int) and n > 0 for n in shape)):
        raise InputError(
            f"the shape of {kind} is {shape!r}: (m,) or (N, Q) is needed, as a tuple of numbers above zero; (1,) for "
            "one number."
        )
    if outputs.dtype != theta.dtype or outputs.device != theta.device:
        raise InputError(
            f"{kind} has dtype {outputs.dtype!r} and device {outputs.device!r}, and its theta is {theta.dtype} on "
            f"{theta.device!r}: return self.theta.dtype and self.theta.device."
        )


def checked_rows(outputs: OutputMap, returned: Tensor, what: str) -> Outputs:
    """What a map returned for its outputs, flat, (m,), and without a graph.

    Args:
        what: names what was called, for the message.

    Raises: InputError, for another type, shape, dtype or device than the map has.
    """
    kind = type(outputs).__name__
    if not isinstance(returned, Tensor):
        raise InputError(f"{what} of {kind} returned {type(returned).__name__}: a tensor of outputs is needed.")
    shape, found = tuple(outputs.shape), tuple(returned.shape)
    if found not in (shape, (shape[0], math.prod(shape[1:]))):
        raise InputError(
            f"{what} of {kind} returned shape {found}, and its shape is {shape}: return outputs.reshape{shape}, rows "
            "sample by sample."
        )
    if returned.dtype != outputs.dtype or returned.device != outputs.device:
        raise InputError(
            f"{what} of {kind} returned {returned.dtype} on {returned.device}, and the map is {outputs.dtype} on "
            f"{outputs.device}: convert, outputs.to(self.theta)."
        )
    return returned.detach().reshape(-1)


def checked_linearisation(outputs: OutputMap, theta: Theta) -> tuple[Outputs, Jacobian]:
    """`x[θ]`, (m,), and D of a map at θ, held against the map's shape, dtype and device: nothing of this takes time.

    Raises: InputError, with the numbers and what to do.
    """
    kind, pair = type(outputs).__name__, outputs.linearise(theta)
    if not (isinstance(pair, tuple) and len(pair) == 2):
        raise InputError(f"linearise of {kind} returned {type(pair).__name__}: a pair (outputs, D) is needed.")
    rows, jacobian = checked_rows(outputs, pair[0], "linearise"), pair[1]
    if not isinstance(jacobian, BlockJacobian) and not isinstance(jacobian, Jacobian):
        raise InputError(
            f"linearise of {kind} returned {type(jacobian).__name__} for D: return outputs, gd.MatrixJacobian(D)."
        )
    found, needed = tuple(jacobian.shape), (len(rows), len(theta))
    if found != needed:
        turned = " It is transposed: pass D.T." if found == needed[::-1] else ""
        raise InputError(f"linearise of {kind} returned D of shape {found}: (m, K) = {needed} is needed.{turned}")
    if jacobian.dtype != outputs.dtype or jacobian.device != outputs.device:
        raise InputError(
            f"linearise of {kind} returned D in {jacobian.dtype} on {jacobian.device}, and the map is {outputs.dtype} "
            f"on {outputs.device}: convert D, or pass gd.MatrixJacobian((mv, rmv), shape={needed}, "
            f"dtype={outputs.dtype}, device={str(outputs.device)!r})."
        )
    return rows, jacobian


def checked_target(outputs: OutputMap, given: Values) -> Outputs:
    """The targets as (N, Q), if they have that shape or exactly the outputs'; also (N,) for one output.

    Raises: InputError, with the shapes and what to do; nothing is ever broadcast.
    """
    target, called = (
        _target_tensor(outputs, given),
        "y" if isinstance(given, Tensor) else "torch.tensor(numpy.array(y))",
    )
    expected = outputs.target_shape if isinstance(outputs, Sampled) else tuple(outputs.shape)
    n, q = expected[0], math.prod(expected[1:])
    _require_plain(called, target, outputs.device)
    _require_rows(target, expected, sampled=isinstance(outputs, Sampled | OfModule))
    if not target.dtype.is_floating_point:
        if q > 1 and target.numel() == n and not target.dtype.is_complex:
            raise InputError(
                f"y holds {n} class labels as numbers ({target.dtype}) but the model has {q} outputs: "
                f"pass torch.nn.functional.one_hot({called}, {q}).to({outputs.dtype})."
            )
        raise InputError(
            f"y is {target.dtype} but the model computes in {outputs.dtype}: convert, y.to({outputs.dtype})."
        )
    if q > 1 and target.shape == (n,):
        raise InputError(
            f"y has shape {tuple(target.shape)} and the outputs have shape {expected}. If y holds class labels, pass "
            f"torch.nn.functional.one_hot({called}.long(), {q}).to({outputs.dtype})."
        )
    if tuple(target.shape) not in (expected, (n, q)) and not (q == 1 and target.shape == (n,)):
        raise InputError(
            f"y has shape {tuple(target.shape)} and the outputs have shape {expected}; nothing is broadcast. "
            + (
                f"Reshape y to {expected}."
                if target.numel() == n * q
                else f"Pass y of shape {expected}, or a model of such outputs."
            )
        )
    if target.dtype != outputs.dtype:
        raise InputError(
            f"y is {target.dtype} but the model computes in {outputs.dtype}: convert, y.to({outputs.dtype})."
        )
    if target.device != outputs.device:
        raise InputError(f"y is on {target.device} but the model is on {outputs.device}: move them to one device.")
    return target.detach().reshape(n, q)


def _target_tensor(outputs: OutputMap, given: Values) -> Tensor:
    """The targets as a tensor; what may be class labels stays integers, and is refused as such."""
    like = torch.empty(0, dtype=outputs.dtype, device=outputs.device)
    target = tensor_of(given, like, "y", keep_integers=True)
    rows, size = outputs.shape[0], math.prod(outputs.shape)
    are_labels = size > rows == target.numel()
    return target if isinstance(given, Tensor) or are_labels else target.to(outputs.dtype)


def _require_rows(target: Tensor, expected: tuple[int, ...], *, sampled: bool) -> None:
    """Raises InputError unless there is a row of targets for each sample, or for each output of a formula."""
    if target.dim() > 0 and len(target) == expected[0]:
        return
    found = tuple(target.shape)
    if sampled:
        raise InputError(f"X holds {expected[0]} samples and y has shape {found}: y needs one row for each sample.")
    way = "one number of y for each output"
    if target.numel() == math.prod(expected):
        way = f"y.reshape({', '.join(map(str, expected))})"
    raise InputError(f"the map returns outputs of shape {expected} and y has shape {found}: pass {way}.")


def checked_weights(given: Values | None, target: Outputs) -> Tensor | None:
    """The weights w ≥ 0, (N,), on the targets' device; None for ones."""
    if given is None:
        return None
    weights = tensor_of(given, target, "weights")
    _require_plain("weights", weights, target.device)
    if weights.dtype == torch.bool or weights.dtype.is_complex:
        raise InputError(f"weights is {weights.dtype}: real numbers are needed, weights.to(torch.float64).")
    if weights.shape != (len(target),):
        raise InputError(f"weights has shape {tuple(weights.shape)}; one weight a sample is needed, ({len(target)},).")
    require_finite(weights, "weights")
    weights = weights.detach().to(target.device, torch.float64)
    if bool((weights < 0).any()) or not row_total(weights) > 0.0:
        raise InputError(f"weights must be ≥ 0 with a positive sum; the smallest is {float(weights.min()):.3g}.")
    largest, kind = float(weights.max()), torch.finfo(target.dtype)
    if not kind.tiny**0.5 <= largest <= kind.max**0.5:
        raise InputError(
            f"the largest of the weights is {largest:.3g}, whose products leave the range of {target.dtype}: pass "
            "weights.double() / weights.double().max(), which changes no minimum."
        )
    return weights


def _require_plain(what: str, values: Tensor, device: torch.device) -> None:
    """Raises InputError for sparse and nested tensors, and for those without numbers where the model has them."""
    if values.is_meta and device.type != "meta":
        raise InputError(f"{what} is on {values.device} but the model is on {device}: move them to one device.")
    require_plain(what, values, what, again=f"{what}.clone()")


def require_finite(values: Tensor, what: str) -> None:
    """Raises InputError for NaN and infinite values, with their count."""
    if isinstance(values, Tensor) and not bool(torch.isfinite(values).all()):
        bad = int((~torch.isfinite(values)).sum())
        raise InputError(f"{what} holds {bad} NaN or infinite values of {values.numel()}. Remove or impute them.")


def require_squares(values: Tensor, what: str) -> None:
    """Raises InputError for values the sum of whose squares leaves the range of float64, in which costs are summed."""
    most = torch.finfo(torch.float64).max
    largest = float(values.abs().max()) if values.numel() else 0.0
    if largest > math.sqrt(most / max(1, values.numel())):
        raise InputError(
            f"{what} holds numbers of up to {largest:.3g}, and the sum of their squares leaves the range of float64, "
            f"which ends at {most:.2g}. Divide them by the largest, numbers / numbers.abs().max(), here and wherever "
            "they are used."
        )
