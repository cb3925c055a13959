"""What the user gives to a fit of many data sets, checked and as tensors in float64."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from geodescent._errors import InputError

Given: TypeAlias = Tensor | ArrayLike
"""What becomes a tensor: tensors, arrays, lists, frames, numbers."""


@dataclass(frozen=True)
class DataSets:
    """B data sets of n points.

    Attributes:
        x: (…, n), or (B, …, n).
        shared: whether it is the first.
        y: (B, n).
        weight: 1/σ (B, n), zero for points that are left out; None where no σ is given.
        kept: the number of points that are not left out, (B,).
        sound: whether all that is kept is finite and every σ positive, (B,).
    """

    x: Tensor
    shared: bool
    y: Tensor
    weight: Tensor | None
    kept: Tensor
    sound: Tensor


def as_float64(value: Given, device: torch.device | None, name: str) -> Tensor:
    """A detached float64 tensor on the device; None takes the value's own."""
    if isinstance(value, Tensor):
        if device is not None and value.device != device and value.dim() > 0:
            raise InputError(f"{name} lies on {value.device}, ydata on {device}: pass {name}.to({str(device)!r}).")
        tensor = value.detach()
    else:
        try:
            array = np.asarray(value)
            tensor = torch.as_tensor(
                array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("=")), device="cpu"
            )
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{name} is no array of real numbers ({error}): pass an array of floats.") from error
    if tensor.is_complex():
        raise InputError(f"{name} is complex: fit real and imaginary parts side by side, as 2n points.")
    return tensor.to(device=device, dtype=torch.float64)


def data_sets(xdata: Given, ydata: Given, sigma: Given | None) -> DataSets:
    """The data, with the shapes that `curve_fit_batched` names."""
    y = as_float64(ydata, None, "ydata")
    if y.dim() != 2 or 0 in y.shape:
        raise InputError(
            f"ydata has shape {tuple(y.shape)}, not (B, n), one data set a row: pass one data set as ydata[None]."
        )
    x = as_float64(xdata, y.device, "xdata")
    count, points = y.shape
    shared = x.dim() < 3 and x.shape != y.shape
    if x.dim() not in (1, 2, 3) or x.shape[-1] != points or not (shared or len(x) == count):
        raise InputError(
            f"xdata has shape {tuple(x.shape)} where ydata has {tuple(y.shape)}: pass x of shape ({points},) or "
            f"(k, {points}) for all data sets, or ({count}, {points}) or ({count}, k, {points}) with one for each."
        )
    flat = x[:, None] if not shared and x.dim() == 2 else x
    finite = (torch.isfinite(flat).all(-2) if flat.dim() > 1 else torch.isfinite(flat)) & torch.isfinite(y)
    if sigma is None:
        return DataSets(x, shared, y, None, torch.full_like(y[:, 0], points), finite.all(1))
    deviation = as_float64(sigma, y.device, "sigma")
    if deviation.shape not in ((), (points,), (count, points)):
        raise InputError(
            f"sigma has shape {tuple(deviation.shape)} where ydata has {tuple(y.shape)}: pass standard deviations of "
            f"shape (), ({points},) or ({count}, {points}). For a covariance LLᵀ fit L⁻¹f to L⁻¹y, with "
            "torch.linalg.solve_triangular in f."
        )
    weight = 1.0 / deviation.expand_as(y)
    left_out = torch.isposinf(deviation).expand_as(y)
    sound = ((finite & (deviation > 0.0)) | left_out).all(1)
    return DataSets(x, shared, y, weight, (~left_out).sum(1).to(y.dtype), sound)


def starts(f: Callable[..., Tensor], p0: Given | None, y: Tensor, box: tuple[Given, Given]) -> tuple[Tensor, ...]:
    """Start, lower and upper bounds, each (B, K)."""
    given = None if p0 is None else as_float64(p0, y.device, "p0")
    unknowns = _unknowns(f) if given is None else int(given.shape[-1]) if given.dim() else 0
    if given is not None and (given.shape not in ((unknowns,), (len(y), unknowns)) or unknowns == 0):
        raise InputError(
            f"p0 has shape {tuple(given.shape)}: pass (K,), the same start for all data sets, or ({len(y)}, K)."
        )
    if len(box) != 2:
        raise InputError(f"bounds has {len(box)} parts, not two: pass (lower, upper).")
    lower, upper = (_bound(value, y, unknowns) for value in box)
    if not bool((lower < upper).all()):
        raise InputError("bounds hold a lower one that is not below its upper one: a fixed parameter belongs into f.")
    start = _inside(lower, upper) if given is None else given.expand(len(y), unknowns)
    return start.clone(), lower, upper


def _unknowns(f: Callable[..., Tensor]) -> int:
    """The number of arguments of f after x."""
    try:
        arguments = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        arguments = []
    if len(arguments) < 2 or any(a.kind not in (a.POSITIONAL_ONLY, a.POSITIONAL_OR_KEYWORD) for a in arguments):
        raise InputError("The signature of f does not tell how many parameters it has: pass p0.")
    return len(arguments) - 1


def _bound(value: Given, y: Tensor, unknowns: int) -> Tensor:
    bound = as_float64(value, y.device, "bounds")
    if bound.shape not in ((), (unknowns,), (len(y), unknowns)):
        raise InputError(
            f"A bound has shape {tuple(bound.shape)}: pass a number, ({unknowns},) or ({len(y)}, {unknowns})."
        )
    return bound.expand(len(y), unknowns)


def _inside(lower: Tensor, upper: Tensor) -> Tensor:
    """SciPy's start: ones; between two bounds their middle; one away from a single bound."""
    below, above = torch.isfinite(lower), torch.isfinite(upper)
    start = torch.where(below, lower + 1.0, torch.where(above, upper - 1.0, 1.0))
    return torch.where(below & above, 0.5 * (lower + upper), start)
