"""The vortices of Taylor and Green, which die away: Navier–Stokes at ν = 0.1, periodic in x and y.

w_t + (w·∇)w + ∇p = 0.1 Δw, ∇·w = 0, w = (u, v)
"""

import torch

from geodescent import pde

seconds = 60
viscosity, turn = 0.1, 2.0 * torch.pi
box = pde.Box(t=(0.0, 1.0), x=(0.0, turn), y=(0.0, turn))


def flow(u, v, p):
    """Momentum in x and y, and mass"""
    in_x = u.t + u * u.x + v * u.y + p.x - viscosity * u.laplacian
    in_y = v.t + u * v.x + v * v.y + p.y - viscosity * v.laplacian
    return in_x, in_y, u.x + v.y


def conditions(net, t, x, y):
    """The velocity at the start is built in"""
    u, v = torch.cos(x) * torch.sin(y), -torch.sin(x) * torch.cos(y)
    return {"u": u + t * net.u, "v": v + t * net.v, "p": net.p}


def system():
    """Two small layers, 1,600 points; p is 0 at x = y = 0 at all times."""
    corner = box.side(x=0.0, y=0.0).points(12)
    terms = [pde.Term("flow", flow, box.inside(1600, "sobol")), pde.Term("pressure", lambda p: p, corner)]
    net, names = pde.mlp(5, [20, 20], 3), ("u", "v", "p")
    periods = {"x": turn, "y": turn}
    return pde.System(net, terms, coordinates=("t", "x", "y"), fields=names, transform=conditions, periodic=periods)


def reference(points):
    """Taylor (1923): cos x sin y, −sin x cos y and −¼(cos 2x + cos 2y) + ½, each times its decay."""
    t, x, y = points.T
    fade = torch.exp(-2.0 * viscosity * t)
    p = 0.5 - (torch.cos(2.0 * x) + torch.cos(2.0 * y)) / 4.0
    return torch.stack([torch.cos(x) * torch.sin(y) * fade, -torch.sin(x) * torch.cos(y) * fade, p * fade**2], 1)
