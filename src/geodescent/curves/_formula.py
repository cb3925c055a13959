"""The user's function as rows of the free parameters, in torch or in NumPy, with its derivative."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent.curves._differences import Differences
from geodescent.curves._parameters import Arrangement

BY_TORCH = "derivatives by torch"


@dataclass(frozen=True)
class UserFunction:
    """One function of all parameters, called in two ways.

    Attributes:
        in_torch: of a tensor (K,); NumPy arrays among its data are tensors there.
        in_numpy: of an array (K,).
        name: for messages.
    """

    in_torch: Callable[[Tensor], object]
    in_numpy: Callable[[np.ndarray], object]
    name: str


@dataclass
class Calls:
    """How often the user's function has been called, for whatever reason."""

    count: int = 0


@dataclass(frozen=True, eq=False)
class Counting:
    """A function of all parameters that counts its calls."""

    function: Callable[..., object]
    calls: Calls

    def __call__(self, parameters: object) -> object:
        self.calls.count += 1
        return self.function(parameters)


@dataclass(frozen=True, eq=False)
class Formula:
    """`u ↦ rows`, (m,), of the free parameters u.

    Attributes:
        arrangement: from u to all parameters.
        call: the user's function.
        speaks_torch: whether torch differentiates it; its argument is a tensor then, and an array otherwise.
        given: D by the user, (m, K), called as the function is, or None.
        differences: D by differences, or None.
        calls: counts them.
    """

    arrangement: Arrangement
    call: UserFunction
    speaks_torch: bool
    given: UserFunction | None
    differences: Differences | None
    calls: Calls = field(default_factory=Calls)

    @property
    def resolution(self) -> float:
        """The relative error of D."""
        exact = torch.finfo(self.arrangement.start.dtype).eps
        return exact if self.differences is None else self.differences.share(self.arrangement.start.dtype)

    @property
    def said(self) -> str:
        """How D is computed."""
        if self.given is not None:
            return "derivatives by jac"
        if self.differences is None:
            return BY_TORCH
        return f"derivatives by {self.differences.scheme} differences"

    def rows(self, u: Tensor) -> Tensor:
        """The rows at u; with a graph where u has one and the function is written in torch."""
        full = self.arrangement.full(u)
        if self.speaks_torch:
            returned = self.call.in_torch(full)
            if not isinstance(returned, Tensor):
                raise InputError(f"{self.call.name} returns {type(returned).__name__} here and a tensor at the start.")
            return returned.reshape(-1).to(full)
        returned = self.call.in_numpy(full.detach().cpu().numpy())
        return torch.from_numpy(as_rows(returned, self.call.name)).to(full)

    def derivative(self) -> Callable[[Tensor], Tensor] | None:
        """`u ↦ D`, (m, k); None where torch computes it."""
        if self.given is not None:
            return self._by_hand
        if self.differences is not None:
            return lambda u: self._by_differences(u)
        return None

    def _by_differences(self, u: Tensor) -> Tensor:
        assert self.differences is not None
        with torch.no_grad():
            return self.differences(self.rows, u, self.arrangement.box)

    def _by_hand(self, u: Tensor) -> Tensor:
        assert self.given is not None
        full = self.arrangement.full(u).detach()
        returned = self.given.in_torch(full) if self.speaks_torch else self.given.in_numpy(full.cpu().numpy())
        derivative = as_matrix(returned, "jac").to(full)
        if derivative.shape[1] != len(full):
            raise InputError(
                f"jac returns shape {tuple(derivative.shape)}: a column for each of "
                f"{', '.join(self.arrangement.names)} is needed, (m, K)."
            )
        return derivative @ self.arrangement.derivative(u)


def formula_of(
    call: UserFunction, arrangement: Arrangement, jac: object, given: UserFunction | None, step: float | None
) -> Formula:
    """The formula, after one call that shows whether it is written in torch.

    Args:
        jac: None, a scheme of differences, or a function, which is `given`.

    Raises: InputError, where the function runs neither with tensors nor with arrays.
    """
    calls = Calls()
    call = replace(call, in_torch=Counting(call.in_torch, calls), in_numpy=Counting(call.in_numpy, calls))
    reason = "differences are asked for" if isinstance(jac, str) else not_in_torch(call, arrangement)
    if jac is None and reason is None:
        return Formula(arrangement, call, True, None, None, calls)
    runs_on_arrays = _runs_on_arrays(call, arrangement, reason)
    scheme = jac if isinstance(jac, str) else "2-point"
    differences = None if given is not None else Differences(scheme, step)
    return Formula(arrangement, call, not runs_on_arrays, given, differences, calls)


def not_in_torch(call: UserFunction, arrangement: Arrangement) -> str | None:
    """Why torch does not differentiate the function at the start; None where it does."""
    leaf = arrangement.start.clone().requires_grad_()
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("error")  # torch warns where a tensor becomes a number, and NumPy where it takes a tensor
        try:
            returned = call.in_torch(leaf)
        except Exception as error:  # a function of the user's may raise anything
            return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    if not isinstance(returned, Tensor):
        return f"it returns {type(returned).__name__}"
    if returned.is_complex():
        raise InputError(complex_outputs(call.name))
    return None if returned.requires_grad else "its outputs do not depend on the parameters through torch"


def _runs_on_arrays(call: UserFunction, arrangement: Arrangement, reason: str | None) -> bool:
    """Whether the function takes arrays; else it takes tensors, of which it returns a tensor."""
    try:
        as_rows(call.in_numpy(arrangement.start.cpu().numpy()), call.name)
    except InputError:
        raise
    except Exception as error:
        with torch.no_grad():
            try:
                takes_tensors = isinstance(call.in_torch(arrangement.start), Tensor)
            except Exception:
                takes_tensors = False
        if takes_tensors:
            return False
        way = f"write it with NumPy or torch functions alone{_device_of_constants(reason)}."
        raise InputError(
            f"{call.name} runs neither on arrays ({type(error).__name__}: {error}) nor on tensors with derivatives "
            f"({reason}): {way}"
        ) from error
    return True


def _device_of_constants(reason: str | None) -> str:
    """What to do where the function holds tensors that are not where the data are."""
    if "device" not in (reason or ""):
        return ""
    return ", and where it holds tensors on a device, pass the start as a tensor on that device"


def as_rows(returned: object, name: str) -> np.ndarray:
    """What a NumPy function returned, flat, float64. Raises InputError for what is no row of real numbers."""
    if isinstance(returned, Tensor):
        returned = returned.detach().cpu().numpy()
    rows = np.asarray(returned)
    if np.iscomplexobj(rows):
        raise InputError(complex_outputs(name))
    try:
        if rows.dtype.kind in "biufO":
            return np.array(rows, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        pass
    raise InputError(f"{name} returns {type(returned).__name__}, not real numbers: return one array of them.")


def complex_outputs(name: str) -> str:
    """What to do with complex outputs."""
    return (
        f"{name} returns complex numbers, of which no square is to be made small: return real and imaginary parts, "
        "np.concatenate([z.real, z.imag]), for the data too."
    )


def as_matrix(returned: object, name: str) -> Tensor:
    """What the user's `jac` returned, as a float64 tensor (m, K)."""
    try:
        matrix = returned.detach() if isinstance(returned, Tensor) else torch.from_numpy(np.array(returned, np.float64))
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} returns {type(returned).__name__}: an array (m, K) is needed.") from error
    if matrix.dim() != 2:
        raise InputError(f"{name} returns shape {tuple(matrix.shape)}: (m, K) is needed.")
    return matrix
