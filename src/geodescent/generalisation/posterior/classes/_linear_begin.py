"""Where else the search for the numbers of classes begins: at the columns that a linear classifier uses."""

import torch
from torch import Tensor

from geodescent.generalisation.posterior.classes._calibration import losses_of_logits, shrunk
from geodescent.generalisation.posterior.classes._class_evidence import ClassEvidence
from geodescent.generalisation.posterior.classes._laplace import LatentMode, mode_of

VARIANCES = tuple(10.0**power for power in range(-2, 4))  # Of the coefficients; the rows left out choose.
STEEPER = 4.0  # Times the usual scales, on the mean square: the steep functions are what the usual begin misses.
FLATTEST = 0.3  # Times the usual scale: that of a column that a linear classifier hardly uses.


def linear_begin(evidence: ClassEvidence, targets: Tensor) -> Tensor:
    """Logarithms with scales in proportion to a linear classifier's coefficients.

    Where the class is told by a small difference of columns that go together, as by the ratio of two, functions of
    the usual scales see nothing, and the search ends at a prior variance of nearly 0. Coefficients show these columns.

    Cost: a few N³ multiply-adds for each class and variance.
    """
    d, begin = evidence.x.shape[1], evidence.begin()
    size = linear_coefficients(evidence.x, targets, evidence.weights).norm(dim=1)
    relative = size / size.square().mean().sqrt().clamp(min=torch.finfo(size.dtype).tiny)
    begin[:d] += (STEEPER * relative).clamp(min=FLATTEST).log()
    return begin


def linear_coefficients(x: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Of the most probable linear latent functions, (d, C), their prior variance chosen by rows left out.

    Args:
        x: standardised inputs, (N, d).
        targets: as in `LatentMode`.
        weights: how often each row counts, (N,).
    """
    gram, dual = x @ x.T + 1.0, torch.zeros_like(targets)
    least, found = torch.inf, x.T @ dual
    for variance in VARIANCES:
        mode = mode_of(variance * gram, targets, weights, dual)
        dual, loss = 0.1 * mode.dual, _loss_left_out(mode)
        if loss < least:
            least, found = loss, variance * (x.T @ mode.dual)
    return found


def _loss_left_out(mode: LatentMode) -> float:
    """The mean log loss of rows left out."""
    labels = mode.targets[:, 0].long() if mode.targets.shape[1] == 1 else mode.targets.argmax(1)
    losses = losses_of_logits(shrunk(*mode.left_out()), labels)
    return float((mode.weights * losses).sum() / mode.weights.sum())
