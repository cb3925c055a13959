"""Both coefficients of u_t + a u u_x = ν u_xx, from 200 sensors that measure u with an error of 0.01.

u_t + a u u_x = ν u_xx, a and ν unknown
"""

import torch

from geodescent import pde
from geodescent.app.equations import cole_hopf

seconds = 20
box = pde.Box(t=(0.0, 1.0), x=(0.0, 1.0))
truth = {"a": 1.0, "nu": 0.05}


def burgers(u, a, nu):
    """u_t + a u u_x = ν u_xx"""
    return u.t + a * u * u.x - nu * u.xx


def system():
    """Two small layers; the search begins at a = 0.5 and ν = 0.1."""
    where = torch.rand(200, 2, dtype=torch.float64)
    measured = cole_hopf(where, 0.05) + 0.01 * torch.randn(200, dtype=torch.float64)
    terms = [
        pde.Term("burgers", burgers, box.inside(1200)),
        pde.Term("sensors", lambda u: u, where, target=measured),
    ]
    return pde.System(pde.mlp(2, [20, 20], 1), terms, coordinates=("t", "x"), unknowns={"a": 0.5, "nu": 0.1})


def reference(points):
    """The formula of Cole and Hopf."""
    return cole_hopf(points, 0.05)
