"""Minimisers that can be written down: networks of zero or least cost without descent.

`separable` and `clustered` fit classes, `wide` any targets by width alone, and `shallow` gives the least cost of a net
with one hidden layer; each returns the network with a report of what it found."""

from geodescent.constructive._explicit import Explicit
from geodescent.constructive._separable import clustered, separable
from geodescent.constructive._shallow import shallow
from geodescent.constructive._wide import wide

__all__ = ["Explicit", "clustered", "separable", "shallow", "wide"]
