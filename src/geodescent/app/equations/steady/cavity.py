"""The lid-driven cavity, Navier–Stokes at Re = 100, beside the table of Ghia, Ghia and Shin (1982)."""

import torch

from geodescent import pde

seconds = 60
box = pde.Box(x=(0.0, 1.0), y=(0.0, 1.0))
heights = [0.9766, 0.9688, 0.9609, 0.9531, 0.8516, 0.7344, 0.6172, 0.5]
heights += [0.4531, 0.2813, 0.1719, 0.1016, 0.0703, 0.0625, 0.0547]
across = [0.84123, 0.78871, 0.73722, 0.68717, 0.23151, 0.00332, -0.13641, -0.20581]
across += [-0.2109, -0.15662, -0.1015, -0.06434, -0.04775, -0.04192, -0.03717]


def flow(u, v, p):
    """Momentum in x and y, and mass"""
    return u * u.x + v * u.y + p.x - u.laplacian / 100.0, u * v.x + v * v.y + p.y - v.laplacian / 100.0, u.x + v.y


def system():
    """Three layers of 20; the lid moves to the right, the other walls stand, and p is 0 in a corner."""
    still = [box.side(x=0.0), box.side(x=1.0), box.side(y=0.0)]
    walls = torch.cat([side.points(50, "chebyshev").points for side in still])
    lid, corner = box.side(y=1.0).points(50, "chebyshev"), box.side(x=0.0, y=0.0).points(1)
    terms = [
        pde.Term("flow", flow, box.inside(1225, "chebyshev")),
        pde.Term("walls", lambda u, v: (u, v), walls),
        pde.Term("lid", lambda u, v: (u - 1.0, v), lid),
        pde.Term("pressure", lambda p: p, corner),
    ]
    return pde.System(pde.mlp(2, [20, 20, 20], 3), terms, coordinates=("x", "y"), fields=("u", "v", "p"))


def table():
    """Points on the middle line and u there; v and p are not in the table."""
    u = torch.tensor(across, dtype=torch.float64)
    y, unknown = torch.tensor(heights, dtype=torch.float64), torch.full_like(u, torch.nan)
    return torch.stack([torch.full_like(y, 0.5), y], 1), torch.stack([u, unknown, unknown], 1)
