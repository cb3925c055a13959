"""Burgers' equation u_t + u u_x = 0.01 u_xx, from −sin πx: a front as thin as 0.01 comes up at x = 0.

u_t + u u_x = 0.01 u_xx
"""

import torch

from geodescent import pde
from geodescent.app.equations import cole_hopf

seconds = 60
box = pde.Box(t=(0.0, 1.0), x=(0.0, 1.0))


def burgers(u):
    """u_t + u u_x = 0.01 u_xx"""
    return u.t + u * u.x - 0.01 * u.xx


def conditions(net, t, x):
    """The start is built in, and that u is odd at x = 0 and x = 1"""
    return -torch.sin(torch.pi * x) + 4.0 * t * x * (1.0 - x) * net


def system():
    """Three small layers; points crowd where the front comes up."""
    inside = box.inside(2560, rule="gauss", crowd={"x": (0.0, 3.0)})
    terms = [pde.Term("burgers", burgers, inside)]
    return pde.System(pde.mlp(2, [20, 20, 20], 1), terms, coordinates=("t", "x"), transform=conditions)


def reference(points):
    """The formula of Cole and Hopf."""
    return cole_hopf(points, 0.01)
