"""The lid-driven cavity, Navier–Stokes at Re = 100, beside the table of Ghia, Ghia and Shin (1982).

(w·∇)w + ∇p = Δw/100, ∇·w = 0, w = (u, v)
"""

import torch

from geodescent import pde

seconds = 60
box = pde.Box(x=(0.0, 1.0), y=(0.0, 1.0))
heights = [0.9766, 0.9688, 0.9609, 0.9531, 0.8516, 0.7344, 0.6172, 0.5]
heights += [0.4531, 0.2813, 0.1719, 0.1016, 0.0703, 0.0625, 0.0547]
across = [0.84123, 0.78871, 0.73722, 0.68717, 0.23151, 0.00332, -0.13641, -0.20581]
across += [-0.2109, -0.15662, -0.1015, -0.06434, -0.04775, -0.04192, -0.03717]


def flow(u, v, p, x, y):
    """Momentum and mass, times what vanishes in the corners of the lid, where the velocity jumps"""
    a, b = x * (1.0 - x), 1.0 - y
    in_x = u * u.x + v * u.y + p.x - u.laplacian / 100.0
    in_y = u * v.x + v * v.y + p.y - v.laplacian / 100.0
    return (a * a + b * b) * in_x, (a * a + b * b) * in_y, (a + b) * (u.x + v.y)


def walls(net, x, y):
    """The velocity is 1 on the lid y = 1, and 0 on the other walls"""
    a, b = x * (1.0 - x), 1.0 - y
    inner = 16.0 * a * y * b
    return {"u": y * a / (a + b) + inner * net.u, "v": inner * net.v, "p": net.p}


def system():
    """Two layers, 900 points; p is 0 in a corner."""
    corner = box.side(x=0.0, y=0.0).points(1)
    terms = [pde.Term("flow", flow, box.inside(900, "chebyshev")), pde.Term("pressure", lambda p: p, corner)]
    return pde.System(pde.mlp(2, [20, 20], 3), terms, coordinates=("x", "y"), fields=("u", "v", "p"), transform=walls)


def table():
    """Points on the middle line and u there; v and p are not in the table."""
    u = torch.tensor(across, dtype=torch.float64)
    y, unknown = torch.tensor(heights, dtype=torch.float64), torch.full_like(u, torch.nan)
    return torch.stack([torch.full_like(y, 0.5), y], 1), torch.stack([u, unknown, unknown], 1)
