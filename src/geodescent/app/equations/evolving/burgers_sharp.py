"""Burgers' equation with ν = 0.01/π, the usual test: a front as thin as 0.003, and points added where it stands.

u_t + u u_x = (0.01/π) u_xx
"""

import torch

from geodescent import pde
from geodescent.app.equations import cole_hopf

seconds = 120
refinements = 1  # Of the points, followed by a fit in its share of the time.
box = pde.Box(t=(0.0, 1.0), x=(0.0, 1.0))
viscosity = 0.01 / torch.pi


def system():
    """Three small layers; points crowd where the front comes up."""
    inside = box.inside(3000, rule="gauss", crowd={"x": (0.0, 4.5)})
    return pde.System(
        pde.mlp(2, [20, 20, 20], 1),
        [pde.Term("burgers", lambda u: u.t + u * u.x - viscosity * u.xx, inside)],
        coordinates=("t", "x"),
        transform=lambda net, t, x: -torch.sin(torch.pi * x) + 4.0 * t * x * (1.0 - x) * net,
    )


def reference(points):
    """The formula of Cole and Hopf."""
    return cole_hopf(points, viscosity)
