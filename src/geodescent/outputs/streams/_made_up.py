"""Made-up fields with all their derivatives: what an equation asks for is seen in its rows without a network."""

import math
import zlib

import torch
from torch import Tensor

from geodescent.outputs.streams._algebra import Streams


def made_up_streams(streams: Streams, points: Tensor, n_fields: int, draw: int) -> Tensor:
    """The streams of the fields `u_f = sin(ω_f·x + φ_f)` at points (P, N, d), (S, P, N, F); ω and φ are drawn.

    They are functions of the place alone: two equations see the same values at the same place.
    """
    generator = torch.Generator("cpu").manual_seed(draw)
    shape = n_fields, points.shape[2]
    speeds = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu").to(points)
    phases = 2.0 * math.pi * torch.rand(n_fields, generator=generator, dtype=torch.float64, device="cpu").to(points)
    angles = points @ speeds.T + phases
    cycle = [torch.sin(angles), torch.cos(angles), -torch.sin(angles), -torch.cos(angles)]
    found = [speeds[:, list(d)].prod(1) * cycle[len(d) % 4] for d in streams.derivatives]
    if streams.laplacian:
        found.append(speeds[:, list(streams.laplacian)].square().sum(1) * cycle[2])
    return torch.stack(found)


def made_up_number(name: str, draw: int) -> float:
    """A number for a coefficient of this name, from 0.5 to 1.5: the same in every equation."""
    generator = torch.Generator("cpu").manual_seed(zlib.crc32(f"{name} {draw}".encode()))
    return 0.5 + float(torch.rand((), generator=generator, device="cpu"))
