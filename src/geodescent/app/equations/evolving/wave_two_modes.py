"""The wave equation u_tt = 4 u_xx of a string with two modes, one of which goes through four periods.

u_tt = 4 u_xx
"""

import torch

from geodescent import pde

seconds = 60
box = pde.Box(t=(0.0, 1.0), x=(0.0, 1.0))


def start(x):
    """u at the start"""
    return torch.sin(torch.pi * x) + 0.5 * torch.sin(4.0 * torch.pi * x)


def system():
    """Two layers of 30, 2,500 points; start, rest at the start and fixed ends are built in."""
    return pde.System(
        pde.mlp(2, [30, 30], 1),
        [pde.Term("wave", lambda u: (u.tt - 4.0 * u.xx) / 300.0, box.inside(2500))],
        coordinates=("t", "x"),
        transform=lambda net, t, x: start(x) + 10.0 * t * t * x * (1.0 - x) * net,
    )


def reference(points):
    """u = cos 2πt sin πx + ½ cos 8πt sin 4πx"""
    t, x = torch.pi * points.T
    return torch.cos(2.0 * t) * torch.sin(x) + 0.5 * torch.cos(8.0 * t) * torch.sin(4.0 * x)
