"""Poisson's equation whose solution, exp + log, no network of sines or tanh contains; values on the walls.

Δu = (64r² − 16) exp(−4r²) − 5/(1 + x + 2y)², r = |(x − 0.3, y − 0.3)|
"""

import torch

from geodescent import pde

seconds = 15
box = pde.Box(x=(0.0, 1.0), y=(0.0, 1.0))


def square(x, y):
    """r², r the distance from (0.3, 0.3)."""
    return (x - 0.3) ** 2 + (y - 0.3) ** 2


def exact(x, y):
    """u = exp(−4r²) + log(1 + x + 2y)"""
    return torch.exp(-4.0 * square(x, y)) + torch.log(1.0 + x + 2.0 * y)


def poisson(u, x, y):
    """Δu = (64r² − 16) exp(−4r²) − 5/(1 + x + 2y)²"""
    bump = (64.0 * square(x, y) - 16.0) * torch.exp(-4.0 * square(x, y))
    return u.laplacian - bump + 5.0 / (1.0 + x + 2.0 * y) ** 2


def walls(u, x, y):
    """u is known on the walls"""
    return u - exact(x, y)


def system():
    """Two small layers, 900 points inside and 120 on the walls."""
    terms = [pde.Term("poisson", poisson, box.inside(900)), pde.Term("walls", walls, box.sides().points(120))]
    return pde.System(pde.mlp(2, [20, 20], 1), terms, coordinates=("x", "y"))


def reference(points):
    """The formula."""
    return exact(*points.T)
