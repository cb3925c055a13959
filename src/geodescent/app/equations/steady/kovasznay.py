"""The flow behind a grid, Navier–Stokes at Re = 40, with Kovasznay's solution on the walls.

(w·∇)w + ∇p = Δw/40, ∇·w = 0, w = (u, v)
"""

import math

import torch

from geodescent import pde

seconds = 60
box = pde.Box(x=(-0.5, 1.0), y=(-0.5, 1.5))
reynolds = 40.0
decay = reynolds / 2.0 - math.sqrt(reynolds**2 / 4.0 + 4.0 * math.pi**2)


def exact(x, y):
    """Kovasznay (1948): u, v, p"""
    fade, angle = torch.exp(decay * x), 2.0 * torch.pi * y
    return 1.0 - fade * torch.cos(angle), decay / (2.0 * torch.pi) * fade * torch.sin(angle), (1.0 - fade**2) / 2.0


def flow(u, v, p):
    """Momentum in x and y, and mass"""
    in_x = u * u.x + v * u.y + p.x - u.laplacian / reynolds
    in_y = u * v.x + v * v.y + p.y - v.laplacian / reynolds
    return in_x, in_y, u.x + v.y


def walls(u, v, x, y):
    """The velocity is known on the walls"""
    return u - exact(x, y)[0], v - exact(x, y)[1]


def system():
    """Two layers of 30, 676 points inside and 104 on the walls; p is fixed at one point."""
    inside, around = box.inside(676, "chebyshev"), box.sides().points(104, "chebyshev")
    corner = pde.Term("pressure", lambda p, x, y: p - exact(x, y)[2], box.side(x=1.0, y=0.0).points(1))
    terms = [pde.Term("flow", flow, inside), pde.Term("walls", walls, around), corner]
    return pde.System(pde.mlp(2, [30, 30], 3), terms, coordinates=("x", "y"), fields=("u", "v", "p"))


def reference(points):
    """The formula."""
    return torch.stack(exact(*points.T), 1)
