"""Poisson's equation Δu = −2 cos x sin y in an L, whose points and walls are plain tensors.

Δu = −2 cos x sin y
"""

from itertools import pairwise

import torch

from geodescent import pde

seconds = 10
box = pde.Box(x=(-1.0, 1.0), y=(-1.0, 1.0))


def exact(x, y):
    """u = eˣ sin y + cos x sin y"""
    return (torch.exp(x) + torch.cos(x)) * torch.sin(y)


def poisson(u, x, y):
    """Δu = −2 cos x sin y"""
    return u.laplacian + 2.0 * torch.cos(x) * torch.sin(y)


def system():
    """Points of a square without those of its lower right quarter; walls are pieces of lines."""
    square = box.inside(1200).points
    inside = square[(square[:, 0] < 0.0) | (square[:, 1] > 0.0)]
    corners = torch.tensor([[0, 0], [1, 0], [1, 1], [-1, 1], [-1, -1], [0, -1], [0, 0]], dtype=torch.float64)
    steps = (torch.arange(30, dtype=torch.float64)[:, None] + 0.5) / 30.0
    around = torch.cat([a + steps * (b - a) for a, b in pairwise(corners)])
    walls = pde.Term("walls", lambda u, x, y: u - exact(x, y), around)
    return pde.System(pde.mlp(2, [20, 20], 1), [pde.Term("poisson", poisson, inside), walls], coordinates=("x", "y"))


def reference(points):
    """The formula; nothing in the quarter that is missing."""
    x, y = points.T
    return torch.where((x < 0.0) | (y > 0.0), exact(x, y), torch.nan)
