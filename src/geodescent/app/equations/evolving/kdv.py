"""A soliton of the Korteweg–de Vries equation u_t + 6u u_x + u_xxx = 0, with v = u_x as a field of its own.

u_t + 6u u_x + u_xxx = 0
"""

import torch

from geodescent import pde

seconds = 40
box = pde.Box(t=(0.0, 1.0), x=(-5.0, 5.0))
speed = 2.0


def exact(t, x):
    """u = c/2 sech²(√c/2 (x + 1 − ct))"""
    return speed / 2.0 / torch.cosh(speed**0.5 / 2.0 * (x + 1.0 - speed * t)) ** 2


def slope(t, x):
    """u_x"""
    return -(speed**0.5) * torch.tanh(speed**0.5 / 2.0 * (x + 1.0 - speed * t)) * exact(t, x)


def kdv(u, v):
    """v = u_x, and u_t + 6u v + v_xx = 0"""
    return u.x - v, u.t + 6.0 * u * v + v.xx


def system():
    """Two small layers; u at the start and at both ends, and its slope at the right one."""
    terms = [
        pde.Term("kdv", kdv, box.inside(1200)),
        pde.Term("start", lambda u, v, t, x: (u - exact(t, x), v - slope(t, x)), box.side(t=0.0).points(60)),
        pde.Term("ends", lambda u, t, x: u - exact(t, x), box.sides("x").points(60)),
        pde.Term("slope", lambda v, t, x: v - slope(t, x), box.side(x=5.0).points(30)),
    ]
    return pde.System(pde.mlp(2, [20, 20], 2), terms, coordinates=("t", "x"), fields=("u", "v"))


def reference(points):
    """The formula."""
    return torch.stack([exact(*points.T), slope(*points.T)], 1)
