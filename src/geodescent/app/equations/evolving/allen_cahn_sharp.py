"""The Allen–Cahn equation with ε = 0.0001: a layer as thin as 0.006 at x = 0.

u_t = 0.0001 u_xx + 5u − 5u³
"""

import torch

from geodescent import pde
from geodescent.app.equations import allen_cahn

seconds = 30
box = pde.Box(t=(0.0, 1.0), x=(0.0, 0.5))


def system():
    """Two small layers; points crowd in the layer, and u is even at x = ½."""
    inside = box.inside(2000, crowd={"x": (0.0, 5.0)})
    return pde.System(
        pde.mlp(2, [20, 20], 1),
        [
            pde.Term("allen-cahn", lambda u: u.t - 0.0001 * u.xx - 5.0 * u + 5.0 * u**3, inside),
            pde.Term("even", lambda u: u.x, box.side(x=0.5).points(40)),
        ],
        coordinates=("t", "x"),
        transform=lambda net, t, x: 0.5 * torch.sin(torch.pi * x) + t * x * net,
    )


def reference(points):
    """1,023 sines and SciPy."""
    return allen_cahn(points, 0.0001)
