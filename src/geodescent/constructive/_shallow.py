"""The minimiser in closed form of a net with one hidden layer that acts as the identity."""

import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent.constructive._classes import Classes
from geodescent.constructive._explicit import Explicit, network_of, reported

SINGULAR = 1e7  # Condition number: class means beyond it count as dependent, for it enters squared.


def shallow(X: Tensor, Y: Tensor) -> Explicit:
    """`W* = Y X̄ᵀ(X̄X̄ᵀ + S)⁻¹`, the minimum of `Σ_j Σ_i ‖W x_ji − y_j‖²/N_j` over W.

    X̄ holds the class means as columns, Y the targets, S is the sum of the classes' covariances. The hidden layer is
    the identity with a bias that keeps every sample positive. Where some combination of the inputs is constant, as with
    a column of ones, the minimum is a local one among all networks of this shape; elsewhere their biases, which W has
    not, lower the cost. `report.minimum` is `tr[YΔ(1 + Δ)⁻¹Yᵀ]`, Δ = X̄⁻¹SX̄⁻ᵀ: this cost has no ½ and counts each
    class alike.

    Args:
        X: inputs, (N, M).
        Y: targets, (N, Q), constant on classes; M classes.

    Raises: InputError, where there are not M classes, or their means are linearly dependent.
    Source: arXiv:2309.10370.
    """
    classes = Classes.of(X, Y)
    if len(classes) != classes.width:
        raise InputError(
            f"shallow(X, Y) wants as many classes as columns of X: Y has {len(classes)} different rows, X has "
            f"{classes.width} columns. Project X on {len(classes)} directions, or use separable or wide."
        )
    means, targets = classes.means().T, classes.targets.T
    condition = float(torch.linalg.cond(means))
    if not condition < SINGULAR:
        raise InputError(
            f"the class means are linearly dependent: their matrix has condition number {condition:.1e}. "
            "Of centred inputs they are: put a column of ones in the place of one column."
        )
    spread = sum(torch.cov(classes.inputs[rows].T, correction=0).reshape(means.shape) for rows in classes.members)
    weight = torch.linalg.solve(means @ means.T + spread, means @ targets.T).T
    lift = 1.0 + classes.inputs.abs().amax(0)
    network = network_of(
        [(torch.eye(classes.width, dtype=means.dtype, device=means.device), lift), (weight, -weight @ lift)],
        classes.dtype,
    )
    inverse = torch.linalg.inv(means)
    delta = inverse @ spread @ inverse.T
    whole = torch.eye(len(delta), dtype=delta.dtype, device=delta.device) + delta
    minimum = float(torch.trace(targets @ delta @ torch.linalg.solve(whole, targets.T)))
    return reported(network, classes.inputs, targets.T[classes.labels], condition=condition, minimum=minimum)
