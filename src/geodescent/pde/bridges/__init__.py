"""Problems that were written for other packages, read without importing these."""

from geodescent.pde.bridges._deepxde import from_deepxde
from geodescent.pde.bridges._pina import from_pina

__all__ = ["from_deepxde", "from_pina"]
