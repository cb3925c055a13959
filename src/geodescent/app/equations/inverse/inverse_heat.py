"""The diffusivity κ of u_t = κ u_xx from 100 sensors that measure u with an error of 0.01, and nothing else.

u_t = κ u_xx, κ unknown
"""

import torch

from geodescent import pde

seconds = 10
box = pde.Box(t=(0.0, 1.0), x=(0.0, 1.0))
truth = {"kappa": 0.25}


def exact(t, x):
    """u = exp(−π²κt) sin πx + ½ exp(−4π²κt) cos 2πx"""
    fast, slow = torch.exp(-(torch.pi**2) * t), torch.exp(-(torch.pi**2) * t / 4.0)
    return slow * torch.sin(torch.pi * x) + 0.5 * fast * torch.cos(2.0 * torch.pi * x)


def diffusion(u, kappa):
    """u_t = κ u_xx"""
    return u.t - kappa * u.xx


def system():
    """Two small layers; the search for κ begins at 1, four times too large."""
    where = torch.rand(100, 2, dtype=torch.float64)
    measured = exact(*where.T) + 0.01 * torch.randn(100, dtype=torch.float64)
    terms = [
        pde.Term("diffusion", diffusion, box.inside(900)),
        pde.Term("sensors", lambda u: u, where, target=measured),
    ]
    return pde.System(pde.mlp(2, [20, 20], 1), terms, coordinates=("t", "x"), unknowns={"kappa": 1.0})


def reference(points):
    """The formula."""
    return exact(*points.T)
