"""What the linearised network predicts of each sample without it: in closed form, at the end of a fit."""

import torch
from torch import Tensor

from geodescent._types import Outputs, Theta
from geodescent.generalisation._leave_one_out import leave_one_out, left_out, modes_of_gram
from geodescent.outputs import SampleMap

MOST_LEFT_OUT = 5000  # Samples whose Gram matrix is decomposed at once: of more, so many are drawn.


def left_out_outputs(
    outputs: SampleMap, theta: Theta, start: Theta, targets: Tensor, *, interpolates: bool
) -> tuple[Tensor, Outputs]:
    """Places of the samples (n,), and their outputs without themselves, (n, Q).

    `y_i − (A⁻¹r)_i/(A⁻¹)_ii`, `A = K̄ + λ`, K̄ the mean Gram matrix at the end and `r = y − x + D(θ − θ₀)`: the targets
    as seen from the start, so that a sample that was fitted does not count as predicted.

    Args:
        outputs: the map that was fitted.
        theta, start: θ at the end of the fit, and θ₀ at its start, (K,).
        targets: y, (N, Q).
        interpolates: whether the fit went on to the end: λ is rounding alone then. Otherwise it was stopped before, and
            the λ is taken with which samples left out are predicted best.

    Cost: one Gram matrix and 9 n³ flops, n = min(N, 5000).
    """
    kept = torch.arange(len(targets), device="cpu")
    if len(targets) > MOST_LEFT_OUT:
        generator = torch.Generator().manual_seed(0)
        kept = torch.randperm(len(targets), generator=generator, device="cpu")[:MOST_LEFT_OUT].sort().values
        outputs = outputs.at(kept)
    x, jacobian = outputs.linearise(theta)
    y = targets[kept.to(targets.device)]
    moved = jacobian.mv(theta - start).reshape(y.shape)
    residual = (y - x.reshape(y.shape) + moved).double()
    modes = modes_of_gram(jacobian.mean_gram().double())
    if interpolates:
        ridge = modes.least_ridge
    else:
        ridge = leave_one_out(modes, residual, n_samples=float(len(y)), block=1).ridge
    missed = left_out(modes, residual, residual.new_tensor([ridge * modes.largest]), block=1)[0]
    return kept, (y.double() - missed).to(y.dtype)
