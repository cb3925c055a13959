"""Poisson's equation Δu = −π² Σ sin πx_k in five dimensions, with values on the walls.

Δu = −π² Σ sin πx_k
"""

import torch

from geodescent import pde

seconds = 60
names = ("x1", "x2", "x3", "x4", "x5")
box = pde.Box(**{name: (0.0, 1.0) for name in names})


def exact(*x):
    """u = Σ sin πx_k"""
    return sum(torch.sin(torch.pi * each) for each in x)


def poisson(u, x1, x2, x3, x4, x5):
    """Δu = −π² Σ sin πx_k"""
    return u.laplacian + torch.pi**2 * exact(x1, x2, x3, x4, x5)


def walls(u, x1, x2, x3, x4, x5):
    """u is known on the walls"""
    return u - exact(x1, x2, x3, x4, x5)


def system():
    """One layer of 64, 449 parameters; 3,000 points inside and 500 on the ten walls."""
    terms = [pde.Term("poisson", poisson, box.inside(3000)), pde.Term("walls", walls, box.sides().points(500))]
    return pde.System(pde.mlp(5, [64], 1), terms, coordinates=names)


def reference(points):
    """The formula."""
    return exact(*points.T)
