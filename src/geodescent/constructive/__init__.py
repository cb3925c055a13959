"""Minimisers that can be written down: networks of zero or least cost without descent (THEORY 3)."""

from geodescent.constructive._explicit import Explicit
from geodescent.constructive._separable import clustered, separable
from geodescent.constructive._shallow import shallow
from geodescent.constructive._wide import wide

__all__ = ["Explicit", "clustered", "separable", "shallow", "wide"]
