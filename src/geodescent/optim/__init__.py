"""torch.optim's face of the same descent."""

from geodescent.optim._geodescent import GeoDescent

__all__ = ["GeoDescent"]
