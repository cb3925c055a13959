"""Laplace's equation in an L, where u is singular at the corner as s·r^⅔ sin ⅔φ: s is found with the smooth part w."""

from itertools import pairwise

import torch

from geodescent import pde

seconds = 15
box = pde.Box(x=(-1.0, 1.0), y=(-1.0, 1.0))
truth = {"s": 1.0}


def singular(x, y):
    """r^⅔ sin ⅔φ, harmonic, and zero on both walls that meet at the corner"""
    angle = torch.remainder(torch.atan2(y, x), 2.0 * torch.pi)
    return (x * x + y * y) ** (1.0 / 3.0) * torch.sin(angle * 2.0 / 3.0)


def walls(w, s, x, y):
    """w + s r^⅔ sin ⅔φ is known on the walls"""
    return w + s * singular(x, y) - (torch.exp(x) * torch.sin(y) + singular(x, y))


def system():
    """Points are tensors: the L, and smaller copies of it that crowd in its corner; walls are pieces of lines."""
    square = box.inside(600).points
    shape = square[(square[:, 0] < 0.0) | (square[:, 1] > 0.0)]
    inside = torch.cat([shape, shape / 6.0, shape / 36.0])
    corners = torch.tensor([[0, 0], [1, 0], [1, 1], [-1, 1], [-1, -1], [0, -1], [0, 0]], dtype=torch.float64)
    steps = (torch.arange(40, dtype=torch.float64)[:, None] + 0.5) / 40.0
    around = torch.cat([a + steps * (b - a) for a, b in pairwise(corners)])
    terms = [pde.Term("laplace", lambda w: w.laplacian, inside), pde.Term("walls", walls, around)]
    return pde.System(pde.mlp(2, [20, 20], 1), terms, coordinates=("x", "y"), fields=("w",), unknowns={"s": 0.0})


def reference(points):
    """The formula of the smooth part, eˣ sin y; nothing in the quarter that is missing."""
    x, y = points.T
    return torch.where((x < 0.0) | (y > 0.0), torch.exp(x) * torch.sin(y), torch.nan)
