"""Optimizers of torch: the same descent a step at a time, and gradient descent with a rate of its own."""

from geodescent.optim._elra import ELRA
from geodescent.optim._geodescent import GeoDescent

__all__ = ["ELRA", "GeoDescent"]
