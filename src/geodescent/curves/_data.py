"""The data of a curve: checked, without what is left out, as arrays and as tensors."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent.curves._rows import real
from geodescent.curves._statistics import Array

POLICIES = (None, "raise", "omit")


@dataclass(frozen=True, eq=False)
class Data:
    """Of a curve.

    Attributes:
        x: what f is handed where it is written in NumPy.
        x_in_torch: what it is handed where it is written in torch.
        y: (m,).
        sigma: standard deviations or covariance, or None.
    """

    x: object
    x_in_torch: object
    y: Tensor
    sigma: np.ndarray | None

    @property
    def device(self) -> torch.device:
        """Where the fit is computed."""
        return self.y.device

    def at(self, x: object) -> "Data":
        """The same with another x."""
        own = _numbers(x, "x")
        return replace(self, x=x if own is None else own, x_in_torch=_tensor(x, own, self.device))


def device_of(*given: object) -> torch.device:
    """That of the tensors among what is given: the first that is not the CPU."""
    devices = [value.device for value in given if isinstance(value, Tensor)]
    return next((device for device in devices if device.type != "cpu"), torch.device("cpu"))


def data_of(
    xdata: object,
    ydata: object,
    sigma: object,
    check_finite: bool | None,
    nan_policy: str | None,
    device: torch.device,
) -> Data:
    """The data as f gets them, in torch on the device.

    Raises: InputError, for complex or non-finite data, and for numbers of data that differ.
    """
    if nan_policy not in POLICIES:
        raise InputError(f'nan_policy is {nan_policy!r}: it is "raise", or "omit" to leave out data with NaN.')
    y = real(ydata, "ydata").reshape(-1)
    if y.size == 0:
        raise InputError("ydata is empty: one number or more is needed.")
    x, errors = _numbers(xdata, "xdata"), None if sigma is None else real(sigma, "sigma")
    for name, values in (("ydata", y), ("xdata", x)):
        if values is not None and (nan_policy == "raise" or (nan_policy is None and check_finite is not False)):
            _require_finite(name, values, nan_policy)
    if nan_policy == "omit":
        keep = ~np.isnan(y)
        if x is not None:
            if x.shape[-1:] != y.shape:
                raise InputError(f'nan_policy="omit" needs xdata of shape ({len(y)},) or (n, {len(y)}), not {x.shape}.')
            keep &= ~np.isnan(x).reshape(-1, len(y)).any(0)
            x = x[..., keep]
        errors = _kept(errors, keep)
        y = y[keep]
    omitted = xdata if nan_policy != "omit" else None
    in_torch = _tensor(omitted, x, device)
    return Data(xdata if x is None else x, in_torch, torch.from_numpy(y).to(device), errors)


def _numbers(values: object, name: str) -> Array | None:
    """As float64, where they are numbers; None for anything else, which f gets as it is."""
    if not isinstance(values, list | tuple | np.ndarray | Tensor):
        values = np.asarray(values)
        if values.ndim == 0 or values.dtype.kind not in "biufc":
            return None
    numbers: Array = real(values, name)
    return numbers


def _tensor(values: object, numbers: np.ndarray | None, device: torch.device) -> object:
    if numbers is None:
        return values
    return torch.from_numpy(numbers).to(device)


def _kept(errors: np.ndarray | None, keep: np.ndarray) -> np.ndarray | None:
    if errors is None or errors.size == 1:
        return errors
    kept: Array = errors[keep] if errors.ndim == 1 else errors[np.ix_(keep, keep)]
    return kept


def _require_finite(name: str, values: np.ndarray, nan_policy: str | None) -> None:
    bad = ~np.isfinite(values) if nan_policy is None else np.isnan(values)
    if bad.any():
        many = int(bad.sum())
        held = "1 number that is" if many == 1 else f"{many} numbers that are"
        raise InputError(
            f'{name} holds {held} not finite: pass nan_policy="omit" to leave out those '
            "that are NaN, or leave them out yourself."
        )
