"""Problems that were written for other packages: DeepXDE and PINA.

They are read by the names of their attributes; neither package is imported.
"""

from geodescent.pde.bridges._deepxde import from_deepxde
from geodescent.pde.bridges._pina import from_pina

__all__ = ["from_deepxde", "from_pina"]
