"""A function of the parameters alone as an output map."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp, vmap

from geodescent._budget import budget, reserved
from geodescent._deadline import FORWARD_PASS, PIECE_SHARE, has_deadline, is_affordable, measuring
from geodescent._errors import InputError, JacobianError
from geodescent._types import Outputs, Theta
from geodescent.jacobian import Jacobian, MatrixJacobian
from geodescent.linalg import norm, row_dot
from geodescent.outputs._autograd import columns_twice, derivative_rows, products, random_rows, value_and_derivative
from geodescent.outputs._given_jacobian import as_jacobian
from geodescent.outputs._inputs import require_function
from geodescent.outputs._parameters import Parameters, flat_theta
from geodescent.outputs._second_derivative import SecondDerivative, backwards_if_defined, central_difference
from geodescent.outputs.checks import AGREES, NAMED, SlopeCheck, point_of_check

FEW_PARAMS = 32  # Parameters: up to here all derivatives are taken backwards; vmap takes a second to load.
FORWARD, REVERSE = 2.0, 3.0  # Calls of f that take as many flops as one column of D forward, and one row of D backward.


class FunctionMap:
    """`x[θ] = f(θ)`: a formula, a penalty, anything that depends on the parameters alone.

        decay = gd.FunctionMap(lambda p: p["size"] * torch.exp(-p["rate"] * t), {"size": one, "rate": one})

    D is computed by two passes backwards for each of a few parameters; of more, by forward or backward differentiation,
    whichever takes fewer flops; or by the user's own function.

    Args:
        function: f, of a flat tensor (K,) or of a dict of named tensors, as theta0 is; returns (m,), (N, Q), or one
            number. It must be differentiable by torch, unless `jacobian` is given.
        theta0: the first parameters; a copy is kept. float32 or float64.
        jacobian: `θ ↦ D`, of the same kind of argument: (m, K), a dict name → (m, *shape), or a `gd.Jacobian`, such as
            `gd.MatrixJacobian((mv, rmv), shape=(m, K))`.

    Attributes:
        traced: `θ ↦ x[θ]` with the graph that leads to θ; None where torch cannot differentiate f, or
            its derivative is not that of `jacobian`.

    Raises:
        InputError: what f returns, or theta0, cannot be used.
        JacobianError: f draws random numbers, or D is not its derivative: that of `jacobian`, or that of torch where a
            parameter leaves it, as by `.item()`.

    Cost: about ten calls of f, in which D is compared once with differences of outputs near theta0.

    `theta` shares the memory of the map: `write` changes it in place.
    """

    def __init__(
        self,
        function: Callable[[Any], Tensor],
        theta0: Parameters,
        *,
        jacobian: Callable[[Any], Any] | None = None,
    ) -> None:
        if not callable(function):
            raise InputError(f"f is a {type(function).__name__}: a function of θ is needed, gd.FunctionMap(f, theta0).")
        require_function(jacobian, "jacobian", "jacobian=lambda theta: D")
        self.theta, self._places = flat_theta(theta0)
        self._function, self._jacobian = function, jacobian
        self.shape: tuple[int, ...] = self._probed()
        self._curvature = SecondDerivative()
        self._ways: list[Callable[[Theta], Tensor | None]] = [self._forward, self._reverse, self._row_by_row]
        if REVERSE * math.prod(self.shape) < FORWARD * len(self.theta):
            self._ways[:2] = [self._reverse, self._forward]
        if self.n_params <= FEW_PARAMS:
            self._ways.insert(0, self._twice)
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
            outputs = self._rows(self._function(self._argument(theta)))
        return outputs.detach().clone()  # f may return a buffer of its own

    def linearise(self, theta: Theta | None = None) -> tuple[Outputs, Jacobian]:
        """`x[θ]` and D: formed where it fits into memory and min(m, K) ≤ 3000, by products with f otherwise.

        Cost: of a D that is formed about 2·K calls of f forward or 3·m backward, many at a time; else two a product.
        """
        theta = self.theta if theta is None else theta
        with measuring(FORWARD_PASS, self.device):
            outputs = self(theta)
        if self._jacobian is not None:
            return outputs, self._given(theta)
        m, k = outputs.numel(), self.n_params
        columns_and_d = 2.0 * m * k * self.dtype.itemsize
        is_small = min(m, k) <= budget().factor_order and reserved(columns_and_d, self.device)
        if is_small and (dense := self._dense(theta)) is not None:
            return outputs, MatrixJacobian(dense)
        mv, rmv = products(self._attached, theta)
        return outputs, MatrixJacobian((mv, rmv), shape=(m, k), dtype=self.dtype, device=self.device)

    def second_derivative(self, theta: Theta, direction: Theta) -> Outputs:
        """`d²x[θ + s·direction]/ds²` at s = 0, by autograd, or by the central difference of length `eps^¼`."""
        with torch.no_grad():
            if self.traced is None:
                return central_difference(self, theta, direction)
            few = self.n_params <= FEW_PARAMS or has_deadline()
            curvature = backwards_if_defined(self.traced, theta, direction) if few else None
            return self._curvature(self.traced, self.traced, theta, direction) if curvature is None else curvature

    def _attached(self, theta: Theta) -> Outputs:
        """`x[θ]` with its graph, where θ has one."""
        return self._rows(self._function(self._argument(theta)))

    def _dense(self, theta: Theta) -> Tensor | None:
        """D; None where a deadline leaves too little time to form it."""
        ways = list(self._ways)
        if not is_affordable(forward_passes=FORWARD * self.n_params, share=PIECE_SHARE):
            ways.insert(0, self._twice)  # the one way that can be cut
        for way in ways:
            try:
                return way(theta)
            except (RuntimeError, NotImplementedError):
                if way == ways[-1]:
                    raise
                self._ways = [other for other in self._ways if other != way]  # an operation without this derivative
        raise AssertionError("no way is left")

    def _twice(self, theta: Theta) -> Tensor | None:
        leaf = theta.detach().clone().requires_grad_()
        with torch.enable_grad():
            outputs = self._attached(leaf)
        return columns_twice(outputs.reshape(-1), leaf)

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

    def _given(self, theta: Theta) -> Jacobian:
        """D by the user's function, (m, K)."""
        assert self._jacobian is not None
        handed = theta.clone()
        derivative = self._jacobian(self._argument(handed))
        if not torch.equal(handed, theta):
            raise InputError("jacobian changes θ in place: copy it first, theta = theta.clone().")
        return as_jacobian(derivative, (math.prod(self.shape), self.n_params), self._places, self.theta)

    def _check(self, theta: Theta, outputs: Outputs, u: Outputs, gradient: Theta) -> None:
        """Raises JacobianError, where Dᵀu does not belong to the change of the outputs near θ."""
        edges = [*(p.offset for p in self._places), self.n_params] if self._places else range(self.n_params + 1)
        way = random_rows(theta.shape, theta)
        check = SlopeCheck(self, theta, outputs, u, gradient, self._along(theta), edges, way)
        if not (wrong := check.wrong()):
            return
        labels = [self._places[i].name if self._places else f"θ[{i}]" for i in wrong[:NAMED]]
        names, (off, size) = ", ".join(labels) + ", …" * (len(wrong) > NAMED), check.sizes(wrong)
        if self._jacobian is not None:
            raise JacobianError(
                f"jacobian(θ) v differs by {off:.2g} (of {size:.2g}) from the change of the function along v, in "
                f"{names}: it is not its derivative. Leave jacobian out to have D by torch, or correct it."
            )
        raise JacobianError(
            f"D v by torch differs by {off:.2g} (of {size:.2g}) from the change of the function along v, in {names}: "
            "torch does not follow these through the function. Keep them tensors, without .item(), float(), .detach(), "
            "math or NumPy; or pass jacobian=, a function that returns D."
        )

    def _along(self, theta: Theta) -> Callable[[Theta], Outputs]:
        """`v ↦ D v`."""
        return lambda v: self.linearise(theta)[1].mv(v)

    def _is_traceable(self) -> bool:
        """Whether autograd's derivative of f exists and is D; with `jacobian` f need not be written in torch.

        Raises:
            InputError: there is neither a derivative nor `jacobian`.
            JacobianError: D is not the derivative.
        """
        u = random_rows(torch.Size(self.shape), self.theta)
        way = random_rows(self.theta.shape, self.theta)
        theta, outputs = point_of_check(self, self.theta, u, way)
        if self._jacobian is None:
            self._check(theta, outputs, u, self._gradient(theta, u))
            return True
        jacobian = self._given(theta)
        ours = jacobian.rmv(u.reshape(-1))
        self._check(theta, outputs, u, ours)
        v = random_rows(theta.shape, theta)
        one, other = row_dot(u.reshape(-1), jacobian.mv(v)), row_dot(ours, v)
        if abs(one - other) > AGREES * (abs(one) + norm(ours) * norm(v)):
            raise JacobianError(f"of jacobian(θ) ⟨u, D v⟩ is {one:.3g} and ⟨Dᵀu, v⟩ is {other:.3g}: correct mv or rmv.")
        try:
            return norm(self._gradient(theta, u) - ours) <= AGREES * norm(ours)
        except InputError:
            return False

    def _gradient(self, theta: Theta, u: Outputs) -> Theta:
        """Dᵀu by autograd. Raises InputError, where there is none."""
        leaf, gradient = theta.clone().requires_grad_(), None
        try:
            with torch.enable_grad():
                outputs = self._attached(leaf)
                if outputs.requires_grad:
                    (gradient,) = torch.autograd.grad((outputs * u).sum(), leaf, allow_unused=True)
        except Exception as error:  # a function that is not written in torch may raise anything
            said = f"{type(error).__name__}, {str(error).split('. ')[0]}"
            raise InputError(
                f"torch cannot differentiate the function: {said}. Write it with torch operations, none of them in "
                "place, or pass jacobian=, a function that returns D."
            ) from error
        if gradient is None:
            raise InputError(
                "the function's outputs do not depend on θ through torch: write it with torch operations, or pass "
                "jacobian=, a function that returns D."
            )
        return gradient

    def _argument(self, theta: Theta) -> Parameters:
        return self._named(theta) if self._places else theta

    def _named(self, theta: Theta) -> dict[str, Tensor]:
        return {p.name: theta[p.entries].view(p.shape) for p in self._places}

    def _rows(self, returned: Tensor) -> Outputs:
        return returned.reshape(1) if returned.dim() == 0 else returned

    def _returned(self) -> Tensor:
        """What f returns at θ, copied where it is a tensor: f may write into a buffer of its own."""
        returned = self._function(self._argument(self.theta))
        return returned.clone() if isinstance(returned, Tensor) else returned

    def _probed(self) -> tuple[int, ...]:
        """The shape of the outputs, from two calls that must agree."""
        before = self.theta.clone()
        with torch.no_grad():
            returned, again = self._returned(), self._returned()
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
