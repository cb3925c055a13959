"""Networks that fit any targets exactly by width alone, without descent."""

import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent.constructive._classes import checked_table
from geodescent.constructive._explicit import Explicit, last_layer, network_of, reported
from geodescent.linalg import norm

DRAWN_DIRECTIONS = 64  # Random directions, of which that with the widest least gap between samples is taken.


def wide(X: Tensor, Y: Tensor) -> Explicit:
    """A ReLU network with one hidden layer and zero cost, for any targets of distinct inputs.

    Where the inputs are affinely independent (so N ≤ M + 1) the hidden layer is the identity with a large bias, and
    the last one solves `[X 1]` by least norm. Elsewhere it is `relu(h·x − c_i)`, one unit a sample, with c_i between
    neighbours among the sorted projections: a triangular matrix that the last layer solves.

    Args:
        X: inputs, (N, M), distinct; rows that repeat may only repeat their targets.
        Y: targets, (N, Q).

    Returns:
        An ordinary network in X's dtype; `report.condition` is that of what the last layer solves. With many samples on
        a line it is large, and digits are lost accordingly.

    Raises: InputError, where one input has two targets.
    Source: arXiv:2502.14114.
    """
    inputs, targets = checked_table(X, Y)
    points, values = _distinct(inputs, targets)
    if len(points) <= points.shape[1] + 1 and _affine_rank(points) == len(points) - 1:
        lift = 1.0 + points.abs().amax(0)
        weight, bias, condition = last_layer(points, values)
        hidden = torch.eye(points.shape[1], dtype=points.dtype, device=points.device)
        layers = [(hidden, lift), (weight, bias - weight @ lift)]
    else:
        direction = _spreading(points)
        order = torch.argsort(points @ direction)
        along = (points @ direction)[order]
        before = torch.cat([along[:1] - _mean_gap(along), along[:-1]])
        offsets = 0.5 * (before + along)
        triangle = torch.relu(along[:, None] - offsets)
        weight = torch.linalg.solve_triangular(triangle, values[order], upper=False)
        condition = float(torch.linalg.cond(triangle))
        layers = [(direction.expand(len(points), -1), -offsets), (weight.T, torch.zeros_like(values[0]))]
    return reported(network_of(layers, X.dtype), inputs, targets, condition=condition)


def _distinct(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Each input once, with its target."""
    points, which = torch.unique(inputs, dim=0, return_inverse=True)
    values = torch.zeros(len(points), targets.shape[1], dtype=targets.dtype, device=targets.device)
    values[which] = targets
    off = (values[which] != targets).any(1)
    if bool(off.any()):
        i = int(torch.nonzero(off)[0])
        j = int(torch.nonzero((which == which[i]) & (targets == values[which[i]]).all(1))[0])
        raise InputError(
            f"rows {min(i, j)} and {max(i, j)} of X are the same and those of Y are not: no network fits both."
        )
    return points, values


def _affine_rank(points: Tensor) -> int:
    return int(torch.linalg.matrix_rank(points[1:] - points[0])) if len(points) > 1 else 0


def _spreading(points: Tensor) -> Tensor:
    """Of some random directions the one along which the two closest projections lie furthest apart; ‖h‖ = 1."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(DRAWN_DIRECTIONS, points.shape[1], generator=generator, dtype=points.dtype, device="cpu").to(
        points.device
    )
    drawn /= drawn.norm(dim=1, keepdim=True)
    along = (points @ drawn.T).sort(dim=0).values
    if len(points) == 1:
        return drawn[0]
    best = int((along[1:] - along[:-1]).amin(0).argmax())
    return drawn[best] / norm(drawn[best])


def _mean_gap(along: Tensor) -> Tensor:
    """The distance before the first projection: the mean of those between."""
    gap = (along[-1] - along[0]) / max(len(along) - 1, 1)
    return gap if bool(gap > 0.0) else torch.ones_like(gap)
