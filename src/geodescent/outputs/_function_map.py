"""A function of the parameters alone as an output map."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp, vmap

from geodescent._budget import budget, require
from geodescent._errors import InputError, JacobianError
from geodescent._types import Outputs, Theta
from geodescent.jacobian import BlockJacobian, MatrixJacobian
from geodescent.linalg import norm
from geodescent.outputs._autograd import derivative_rows, random_rows, value_and_derivative
from geodescent.outputs._function import Parameter
from geodescent.outputs._second_derivative import SecondDerivative, central_difference, central_slope

Parameters = Tensor | Mapping[str, Tensor]
FORWARD, REVERSE = 2.0, 3.0  # Calls of f that take as many flops as one column of D forward, and one row of D backward.
AGREES = 1e-4  # Share of D v by which a user's D may differ from a central difference of f.


class FunctionMap:
    """`x[θ] = f(θ)`: a formula, a penalty, anything that depends on the parameters alone.

        decay = gd.FunctionMap(lambda p: p["size"] * torch.exp(-p["rate"] * t), {"size": one, "rate": one})

    D is computed by forward or backward differentiation, whichever takes fewer flops, or by the user's own function.

    Args:
        function: f, of a flat tensor (K,) or of a dict of named tensors, as theta0 is; returns (m,), (N, Q), or one
            number. It must be differentiable by torch, unless `jacobian` is given.
        theta0: the first parameters; a copy is kept. float32 or float64.
        jacobian: `θ ↦ D`, of the same kind of argument: (m, K), or a dict name → (m, *shape). It is compared with f
            once, now.

    Attributes:
        traced: `θ ↦ x[θ]` with the graph that leads to θ; None where torch cannot differentiate f, or
            its derivative is not that of `jacobian`.

    Raises:
        InputError: what f returns, or theta0, cannot be used.
        JacobianError: f draws random numbers, or `jacobian` is not its derivative.

    `theta` shares the memory of the map: `write` changes it in place.
    """

    def __init__(
        self,
        function: Callable[[Any], Tensor],
        theta0: Parameters,
        *,
        jacobian: Callable[[Any], Any] | None = None,
    ) -> None:
        self.theta, self._places = _flat(theta0)
        self._function, self._jacobian = function, jacobian
        self.shape: tuple[int, ...] = self._probed()
        self._curvature = SecondDerivative()
        self._ways = [self._forward, self._reverse, self._row_by_row]
        if REVERSE * math.prod(self.shape) < FORWARD * len(self.theta):
            self._ways[:2] = [self._reverse, self._forward]
        if jacobian is not None:
            self._check_jacobian()
        self.traced: Callable[[Theta], Outputs] | None = self._attached if self._is_traceable() else None

    @property
    def dtype(self) -> torch.dtype:
        """Of parameters and outputs."""
        return self.theta.dtype

    @property
    def device(self) -> torch.device:
        """Of parameters and outputs."""
        return self.theta.device

    @property
    def n_params(self) -> int:
        """K."""
        return len(self.theta)

    def parameters(self) -> dict[str, Tensor]:
        """The named tensors, as views of θ; empty for a function of a flat tensor."""
        return self._named(self.theta) if self._places else {}

    def write(self, theta: Theta) -> None:
        """Copies θ into the map's own."""
        with torch.no_grad():
            self.theta.copy_(theta)

    def __call__(self, theta: Theta) -> Outputs:
        """`x[θ]`, (m,) or (N, Q)."""
        with torch.no_grad():
            return self._rows(self._function(self._argument(theta)))

    def linearise(self, theta: Theta | None = None) -> tuple[Outputs, BlockJacobian]:
        """`x[θ]` and D, dense.

        Cost: about 2·K calls of f forward or 3·m backward, many at a time, or one call of the user's function.
        Raises: MemoryPlanError, where D does not fit.
        """
        theta = self.theta if theta is None else theta
        outputs = self(theta)
        m, k = outputs.numel(), self.n_params
        require(m * k * self.dtype.itemsize, self.device, what=f"D of {m} × {k}", instead="Return MatrixJacobian.")
        return outputs, MatrixJacobian(self._dense(theta))

    def second_derivative(self, theta: Theta, direction: Theta) -> Outputs:
        """`d²x[θ + s·direction]/ds²` at s = 0, by autograd, or by the central difference of length `eps^¼`."""
        with torch.no_grad():
            if self.traced is None:
                return central_difference(self, theta, direction)
            return self._curvature(self.traced, self.traced, theta, direction)

    def _attached(self, theta: Theta) -> Outputs:
        """`x[θ]` with its graph, where θ has one."""
        return self._rows(self._function(self._argument(theta)))

    def _dense(self, theta: Theta) -> Tensor:
        if self._jacobian is not None:
            return self._given(theta)
        for way in list(self._ways):
            try:
                return way(theta)
            except (RuntimeError, NotImplementedError):
                if way == self._ways[-1]:
                    raise
                self._ways.remove(way)  # an operation without this kind of derivative: the next method gives the same D
        raise AssertionError("no way is left")

    def _forward(self, theta: Theta) -> Tensor:
        units = torch.eye(self.n_params, dtype=self.dtype, device=self.device)

        def along(unit: Tensor) -> Tensor:
            return value_and_derivative(self._attached, (theta,), (unit,))[1].reshape(-1)

        columns: Tensor = vmap(along, out_dims=1, chunk_size=self._chunk)(units)
        return columns

    def _reverse(self, theta: Theta) -> Tensor:
        outputs, pull = vjp(self._attached, theta)[:2]
        units = torch.eye(outputs.numel(), dtype=self.dtype, device=self.device).view(-1, *outputs.shape)
        rows_of_d: Tensor = vmap(lambda unit: pull(unit)[0], chunk_size=self._chunk)(units)
        return rows_of_d

    def _row_by_row(self, theta: Theta) -> Tensor:
        leaf = theta.detach().clone().requires_grad_()
        with torch.enable_grad():
            outputs = self._attached(leaf)
        return derivative_rows(outputs.reshape(len(outputs), -1), [leaf]).reshape(-1, self.n_params)

    @property
    def _chunk(self) -> int:
        """Derivatives taken at once."""
        one = max(math.prod(self.shape), self.n_params) * self.dtype.itemsize
        return max(1, budget().batch_bytes // max(1, one))

    def _given(self, theta: Theta) -> Tensor:
        """D by the user's function, as (m, K)."""
        assert self._jacobian is not None
        derivative, m, k = self._jacobian(self._argument(theta)), math.prod(self.shape), self.n_params
        if isinstance(derivative, Mapping):
            if not self._places:
                raise InputError(f"jacobian returned a dict and θ is a flat tensor: return D, (m, K) = {(m, k)}.")
            missing = [p.name for p in self._places if p.name not in derivative]
            if missing:
                raise InputError(f"jacobian returned a dict without {', '.join(missing)}: one entry a parameter.")
            derivative = torch.cat([torch.as_tensor(derivative[p.name]).reshape(m, -1) for p in self._places], 1)
        dense = torch.as_tensor(derivative).detach().to(self.theta)
        if tuple(dense.shape) != (m, k):
            raise InputError(f"jacobian returned shape {tuple(dense.shape)}: (m, K) = {(m, k)} is needed.")
        return dense

    def _check_jacobian(self) -> None:
        v = random_rows(self.theta.shape, self.theta)
        ours, theirs = self._given(self.theta) @ v, central_slope(self, self.theta, v).reshape(-1)
        off, size = norm(ours - theirs), norm(theirs)
        if off > AGREES * max(size, norm(ours)) and math.isfinite(size):
            raise JacobianError(
                f"jacobian(θ) v differs by {off:.2g} (of {size:.2g}) from the change of the function along v: it is "
                "not its derivative. Leave jacobian out to have D by torch, or correct it."
            )

    def _is_traceable(self) -> bool:
        """Whether autograd's derivative of f exists and is D; with `jacobian` f need not be written in torch.

        Raises: InputError, where there is neither a derivative nor `jacobian`.
        """
        u, leaf = random_rows(torch.Size(self.shape), self.theta), self.theta.clone().requires_grad_()
        gradient: Tensor | None = None
        cause: Exception | None = None
        try:
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(self._attached(leaf), leaf, u, allow_unused=True)
        except Exception as error:  # a function that is not written in torch may raise anything
            cause = error
        if self._jacobian is None and gradient is None:
            raise InputError(
                "the function's outputs do not depend on θ through torch: write it with torch operations, or pass "
                "jacobian=, a function that returns D."
            ) from cause
        if self._jacobian is None or gradient is None:
            return gradient is not None
        ours = self._given(self.theta).T @ u.reshape(-1)
        return norm(gradient - ours) <= AGREES * norm(ours)

    def _argument(self, theta: Theta) -> Parameters:
        return self._named(theta) if self._places else theta

    def _named(self, theta: Theta) -> dict[str, Tensor]:
        return {p.name: theta[p.entries].view(p.shape) for p in self._places}

    def _rows(self, returned: Tensor) -> Outputs:
        return returned.reshape(1) if returned.dim() == 0 else returned

    def _probed(self) -> tuple[int, ...]:
        """The shape of the outputs, from two calls that must agree."""
        before = self.theta.clone()
        with torch.no_grad():
            returned, again = (self._function(self._argument(self.theta)) for _ in range(2))
        if not torch.equal(self.theta, before):
            raise InputError("the function changes θ in place: copy it first, theta = theta.clone().")
        if not isinstance(returned, Tensor):
            raise InputError(f"the function returns {type(returned).__name__}, not a tensor: use torch operations.")
        if returned.dim() > 2 or returned.numel() == 0:
            raise InputError(
                f"the function returns shape {tuple(returned.shape)}: (m,), (N, Q) or one number is needed. Flatten "
                "what it returns, outputs.flatten(1)."
            )
        if returned.dtype != self.dtype or returned.device != self.device:
            raise InputError(
                f"the function returns {returned.dtype} on {returned.device} and theta0 is {self.dtype} on "
                f"{self.device}: make them one dtype and one device."
            )
        if not torch.allclose(returned, again, equal_nan=True):
            raise JacobianError("two calls of the function gave different outputs: take the randomness out of it.")
        return tuple(self._rows(returned).shape)


def _flat(theta0: Parameters) -> tuple[Theta, list[Parameter]]:
    """θ, a flat copy, and the places of the named tensors in it; none for a flat tensor."""
    if isinstance(theta0, Tensor):
        if theta0.dim() != 1 or len(theta0) == 0:
            raise InputError(
                f"theta0 has shape {tuple(theta0.shape)}: a flat tensor (K,) or a dict of named tensors is needed."
            )
        return _checked(theta0.detach().clone()), []
    if not (isinstance(theta0, Mapping) and theta0 and all(isinstance(t, Tensor) for t in theta0.values())):
        raise InputError(f"theta0 must be a flat tensor (K,) or a dict of named tensors, not {type(theta0).__name__}.")
    kinds = {(t.dtype, t.device) for t in theta0.values()}
    if len(kinds) > 1:
        raise InputError(f"the tensors of theta0 are of {sorted(map(str, kinds))}: one dtype and one device is needed.")
    places, offset = list[Parameter](), 0
    for name, tensor in theta0.items():
        places.append(Parameter(name, offset, tensor.shape))
        offset += tensor.numel()
    return _checked(torch.cat([t.detach().reshape(-1) for t in theta0.values()])), places


def _checked(theta: Theta) -> Theta:
    if theta.dtype not in (torch.float32, torch.float64):
        raise InputError(f"theta0 is {theta.dtype}; float32 and float64 are supported: theta0.double().")
    if not bool(torch.isfinite(theta).all()):
        raise InputError("theta0 holds NaN or infinite values: start from finite parameters.")
    return theta
