"""The Allen–Cahn equation with ε = 0.0001: layers as thin as 0.006 at both ends."""

import torch

from geodescent import pde
from geodescent.app.equations import allen_cahn

seconds = 30
box = pde.Box(t=(0.0, 1.0), x=(0.0, 1.0))


def system():
    """Three small layers; Chebyshev points crowd at the ends."""
    inside = box.inside(2500, "chebyshev")
    return pde.System(
        pde.mlp(2, [20, 20, 20], 1),
        [pde.Term("allen-cahn", lambda u: u.t - 0.0001 * u.xx - 5.0 * u + 5.0 * u**3, inside)],
        coordinates=("t", "x"),
        transform=lambda net, t, x: 0.5 * torch.sin(torch.pi * x) + t * x * (1.0 - x) * net,
    )


def reference(points):
    """1,023 sines and SciPy."""
    return allen_cahn(points, 0.0001)
