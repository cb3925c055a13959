"""How much of the targets' variance a linear function leaves, by rows left out."""

import torch
from torch import Tensor

RIDGE_PENALTIES = tuple(10.0**power for power in range(-3, 5))  # Of the squared coefficients of standardised inputs.
LEAST_LEFT = 1e-3  # Of a row's share in its own prediction: a row that decides it alone tells nothing of new ones.


def unexplained(x: Tensor, y: Tensor, weights: Tensor) -> float:
    """The share of the variance, from 0 to 1, left by ridge regression with the best of the penalties.

    Rows are left out in closed form, one repetition at a time, so that a weight of two is two rows.

    Args:
        x, y: standardised inputs (N, d) and targets (N, Q).
        weights: how often each row counts, (N,).

    Cost: a singular value decomposition of N × (d + 1).
    """
    root = weights.sqrt()[:, None]
    wide, targets = root * torch.cat([x, torch.ones_like(root)], 1), root * y
    left, singular, _ = torch.linalg.svd(wide, full_matrices=False)
    inside, whole, least = left.T @ targets, float(targets.square().sum()), 1.0
    for penalty in RIDGE_PENALTIES:
        kept = singular.square() / (singular.square() + penalty)
        rest = (1.0 - (left.square() @ kept) / weights.clamp(min=1.0)).clamp(min=LEAST_LEFT)
        missed = (targets - left @ (kept[:, None] * inside)) / rest[:, None]
        least = min(least, float(missed.square().sum()) / whole if whole > 0.0 else 1.0)
    return least
