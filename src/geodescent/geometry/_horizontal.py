"""Horizontal lifts: the parameter path of least speed over a path of outputs, its length, its holonomy."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from geodescent._errors import InputError
from geodescent._settings import BETWEEN, FINITE
from geodescent._types import Outputs, Theta
from geodescent.flow import Velocity, as_arrays
from geodescent.geometry._precision import require_double
from geodescent.lift import GramLift
from geodescent.linalg import norm, row_norm
from geodescent.outputs import Inputs, SampleMap

START_GAP = 1e-8  # Share of ‖x‖ that a path may start away from the model's outputs.
ONE_DIRECTION = 1e-12  # Share of ‖f‖: two directions that differ by less are one.


@dataclass(frozen=True)
class HorizontalPath:
    """The horizontal lift of an output path.

    Attributes:
        theta: at every accepted step of the integration, (n, K).
        outputs: `x[θ]` there by a forward pass, (n, m).
        wanted: the output path there, (n, m).
        output_length: of the output path, Euclidean.
    """

    theta: Tensor
    outputs: Tensor
    wanted: Tensor
    output_length: float

    @property
    def length(self) -> float:
        """The sub-Riemannian length: of the image of the path, by chords between the steps; the output path's own."""
        return float((self.outputs[1:] - self.outputs[:-1]).norm(dim=1).sum())

    @property
    def parameter_length(self) -> float:
        """`Σ‖Δθ‖`, Euclidean in parameters."""
        return float((self.theta[1:] - self.theta[:-1]).norm(dim=1).sum())

    @property
    def drift(self) -> float:
        """The largest `‖x[θ] − wanted‖`: the integration's error."""
        return float((self.outputs - self.wanted).norm(dim=1).max())

    @property
    def gap(self) -> float:
        """`‖θ_end − θ_0‖`; over a closed output path its holonomy."""
        return norm(self.theta[-1] - self.theta[0])


def horizontal_lift(
    model: nn.Module, X: Inputs, path: Sequence[Tensor] | Tensor, *, tol: float = 1e-10
) -> HorizontalPath:
    """`dθ = D⁺dx` along straight pieces of output space; the model is left as it was.

    Args:
        model: as in `gd.fit`.
        X: its samples.
        path: corners of the output path, each of the outputs' shape, the first at the model's own outputs.
        tol: of the integration, relative to the size of θ.

    Raises: InputError, where the path starts elsewhere, or D loses rank on the way.
    Cost: an exact lift an evaluation, twelve a step (DOP853).
    """
    from scipy.integrate import DOP853

    tol = BETWEEN.such_as(1e-10).of("tol", tol)
    outputs = SampleMap(model, X)
    require_double(outputs.dtype, "horizontal_lift")
    shape = outputs.target_shape
    for corner in path:
        if tuple(corner.shape) != shape or not bool(torch.isfinite(corner).all()):
            raise InputError(
                f"every corner of the path must be finite, in the outputs' shape {shape}: {tuple(corner.shape)}."
            )
    corners = [corner.detach().reshape(-1).to(outputs.theta).double() for corner in path]
    first = outputs(outputs.theta).reshape(-1).double()
    if len(corners) < 2 or norm(corners[0] - first) > START_GAP * max(norm(first), 1.0):
        raise InputError(
            f"the path has {len(corners)} corners and starts {norm(corners[0] - first):.2g} from the model's outputs: "
            "at least two are needed, and the first must be model(X)."
        )
    theta = outputs.theta.double().cpu().numpy()
    thetas, wanted = [theta], [corners[0]]
    for begin, end in pairwise(corners):
        if row_norm(end - begin) == 0.0:
            continue
        arrays = as_arrays(_velocity(outputs, end - begin), outputs.theta)
        solver = DOP853(arrays, 0.0, theta, 1.0, rtol=tol, atol=tol * max(1.0, float(np.linalg.norm(theta))))
        while solver.status == "running":
            solver.step()
            if solver.status == "failed":
                raise InputError(f"the lift ends at {solver.t:.3f} of a piece: D all but loses rank there.")
            thetas.append(solver.y.copy())
            wanted.append(begin + solver.t * (end - begin))
        theta = solver.y
    lifted = torch.from_numpy(np.stack(thetas)).to(outputs.theta)
    path_outputs = torch.stack([outputs(point).reshape(-1).double() for point in lifted])
    length = math.fsum(norm(end - begin) for begin, end in pairwise(corners))
    return HorizontalPath(lifted, path_outputs, torch.stack(wanted), length)


def holonomy(
    model: nn.Module, X: Inputs, first: Tensor, second: Tensor, side: float, *, tol: float = 1e-11
) -> HorizontalPath:
    """The lift of a small square in the plane of two output directions; its `gap` grows with the area, as side².

    Args:
        model: as in `gd.fit`.
        X: its samples.
        first: a direction of the outputs' shape, which is made a unit.
        second: another, of which the part orthogonal to the first is taken, as a unit.
        side: of the square, in the units of the outputs.
    """
    side = FINITE.such_as(0.01).of("side", side)
    outputs = SampleMap(model, X)
    shape = outputs.target_shape
    start = outputs(outputs.theta).reshape(-1).double()
    e = first.detach().reshape(-1).to(start)
    e = e / norm(e)
    f = second.detach().reshape(-1).to(start)
    f = f - (f @ e) * e
    if not norm(f) > ONE_DIRECTION * max(norm(second), 1e-300):
        raise InputError("the two directions are the same, or none: a square needs two.")
    f = f / norm(f)
    corners = [start, start + side * e, start + side * (e + f), start + side * f, start]
    return horizontal_lift(model, X, [corner.view(shape) for corner in corners], tol=tol)


def growth(model: nn.Module, X: Inputs) -> tuple[int, int]:
    """`(dim H, dim(H + [H, H]))`: the horizontal space, and with the first brackets of its fields `X_i = D⁺e_i`.

    `[X_i, X_j] = ∂X_j·X_i − ∂X_i·X_j` by forward derivatives of `Dᵀ(DDᵀ)⁻¹`; where the sum is all of R^K, every θ can
    be reached by horizontal paths (Chow–Rashevskii).

    Raises: InputError, where D has not full row rank: there H is no distribution of constant rank.
    Cost: m derivatives of D⁺, each some m passes: for small networks.
    """
    outputs = SampleMap(model, X)
    require_double(outputs.dtype, "growth")
    theta = outputs.theta
    function = _flat_function(outputs)
    jacobian = torch.func.jacrev(function)(theta)
    m, rank = len(jacobian), int(torch.linalg.matrix_rank(jacobian))
    if rank < m:
        raise InputError(f"D has rank {rank} of m = {m} here: its horizontal fields are no frame.")
    fields = _penrose(function, theta)
    turns = [torch.func.jvp(lambda t: _penrose(function, t), (theta,), (fields[:, i],))[1] for i in range(m)]
    brackets = [turns[i][:, j] - turns[j][:, i] for i in range(m) for j in range(i + 1, m)]
    return m, int(torch.linalg.matrix_rank(torch.cat([fields, torch.stack(brackets, 1)], 1))) if brackets else m


def _velocity(outputs: SampleMap, way: Outputs) -> Velocity:
    """`D⁺ẋ` on one straight piece, of which `way` is the difference of its ends."""

    def velocity(time: float, theta: Theta) -> Theta:
        _, jacobian = outputs.linearise(theta)
        lifted = GramLift().prepare(jacobian.to(torch.float64)).lift(way, damping=0.0)
        if lifted.rank is not None and lifted.rank < jacobian.n_residuals:
            raise InputError(
                f"D has rank {lifted.rank} of m = {jacobian.n_residuals} on the way: outputs there cannot follow every "
                "path. Take fewer samples, or a path that keeps away."
            )
        return lifted.velocity

    return velocity


def _flat_function(outputs: SampleMap) -> Callable[[Theta], Outputs]:
    """`θ ↦ x[θ]`, (m,), differentiable."""
    traced = outputs.traced
    if traced is None:
        raise InputError(
            "the model reads its parameters in the backward pass, as checkpoints do: call it without these."
        )
    return lambda theta: traced(theta).reshape(-1)


def _penrose(function: Callable[[Theta], Outputs], theta: Theta) -> Tensor:
    """`D⁺ = Dᵀ(DDᵀ)⁻¹`, (K, m)."""
    d = torch.func.jacrev(function)(theta)
    inverse: Tensor = torch.linalg.solve(d @ d.T, d).T
    return inverse
