"""Truncation maps on input space: each makes one class a point and leaves all others where they are."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from geodescent.constructive._classes import Classes
from geodescent.constructive._explicit import Explicit, last_layer, network_of, reported
from geodescent.linalg import norm, singular_values

ROOM = 0.9  # Share of the widest cone that still keeps every sample on its side.
INDEPENDENT = 1e-6  # Share of the largest singular value of [p 1]: below it a base point is moved inside its plane.
MOVES = 20  # Places inside its plane that are tried for a base point.
ATTEMPTS = 5  # Beginnings with other base points, where no plane is left for a class.


@dataclass(frozen=True)
class Plane:
    """`h·z = c`, ‖h‖ = 1: a class below, everything else above; `gap` is the distance of either from it."""

    normal: Tensor
    offset: float
    gap: float


@dataclass(frozen=True)
class Truncation:
    """`T(z) = W⁻¹(relu(Wz + b) − b)`, `W = (uuᵀ + λ(1 − uuᵀ))R`, `b = −Wp`: a cone with its point at p.

    What lies with `W(z − p) ≥ 0` stays, what lies with `W(z − p) ≤ 0` goes to p.

    Attributes:
        rotation: R, the reflection that takes the plane's normal to u = (1, …, 1)/√M.
        aperture: λ, 1/λ is W's condition number.
        base: p.
    """

    rotation: Tensor
    aperture: float
    base: Tensor

    def _stretched(self, factor: float) -> Tensor:
        """`uuᵀ + factor·(1 − uuᵀ)`."""
        m = len(self.base)
        along = torch.full((m, m), 1.0 / m, dtype=self.base.dtype, device=self.base.device)
        return along + factor * (torch.eye(m, dtype=self.base.dtype, device=self.base.device) - along)

    @property
    def weight(self) -> Tensor:
        """W."""
        return self._stretched(self.aperture) @ self.rotation

    @property
    def inverse(self) -> Tensor:
        """W⁻¹, in closed form."""
        return self.rotation.T @ self._stretched(1.0 / self.aperture)


@dataclass
class Collapse:
    """Points and classes as they stand after some stages.

    Attributes:
        points: z, (N, M).
        classes: the classes.
        remaining: those that are spread out still.
        order, stages: those that are points already, and how.
        attempt: above 0 every base point is moved inside its plane, each time elsewhere.
    """

    points: Tensor
    classes: Classes
    remaining: list[int]
    order: list[int] = field(default_factory=list)
    stages: list[Truncation] = field(default_factory=list)
    attempt: int = 0

    @classmethod
    def of(cls, classes: Classes, attempt: int = 0) -> "Collapse":
        return cls(classes.inputs.clone(), classes, list(range(len(classes))), attempt=attempt)

    @property
    def bases(self) -> Tensor:
        """p of the stages so far, (stages, M)."""
        return torch.stack([s.base for s in self.stages]) if self.stages else self.points[:0]

    def sides(self, j: int) -> tuple[Tensor, Tensor]:
        """The points of class j, and all others: of other classes, and the points that these have become."""
        others = [self.points[self.classes.members[i]] for i in self.remaining if i != j]
        return self.points[self.classes.members[j]], torch.cat([*others, self.bases])

    def take(self, j: int, plane: Plane) -> None:
        """Makes class j a point on its plane."""
        inside, outside = self.sides(j)
        base = self._base(inside, plane)
        a, across = _split(torch.cat([inside, outside]) - base, plane.normal)
        widest = float((a.abs() / (math.sqrt(len(base)) * across.clamp(min=torch.finfo(a.dtype).tiny))).min())
        self.stages.append(Truncation(_reflection(plane.normal), min(1.0, ROOM * widest), base))
        self.points[self.classes.members[j]] = base
        self.remaining.remove(j)
        self.order.append(j)

    def _base(self, inside: Tensor, plane: Plane) -> Tensor:
        """The class mean's projection on its plane; moved inside it where it depends on the points before."""
        mean = inside.mean(0)
        base = mean - (plane.normal @ mean - plane.offset) * plane.normal
        generator = torch.Generator().manual_seed(1000 * self.attempt + len(self.stages))
        for _ in range(MOVES):
            if self.attempt == 0 and _independent(torch.cat([self.bases, base[None]])):
                return base
            shift = torch.randn(len(base), generator=generator, dtype=base.dtype, device="cpu").to(base.device)
            shift -= (plane.normal @ shift) * plane.normal
            moved = base + plane.gap * shift / max(norm(shift), 1e-300)
            if _independent(torch.cat([self.bases, moved[None]])):
                return moved
        return base

    def network(self) -> Explicit:
        """One layer a stage, and the last one by least norm on the points that the classes have become.

        `W_ℓ = W^(ℓ)(W^(ℓ−1))⁻¹`, `b_ℓ = W^(ℓ)(p_{ℓ−1} − p_ℓ)`, with W^(0) = 1 and p_0 = 0.
        """
        inverse, before, weights = None, torch.zeros_like(self.points[0]), list[tuple[Tensor, Tensor]]()
        for stage in self.stages:
            weight = stage.weight
            weights.append((weight if inverse is None else weight @ inverse, weight @ (before - stage.base)))
            inverse, before = stage.inverse, stage.base
        hidden = self.classes.inputs[torch.stack([rows[0] for rows in self.classes.members])]
        for weight, bias in weights:
            hidden = torch.relu(hidden @ weight.T + bias)
        *last, condition = last_layer(hidden, self.classes.targets)
        network = network_of([*weights, (last[0], last[1])], self.classes.dtype)
        apertures = tuple(stage.aperture for stage in self.stages)
        targets = self.classes.targets[self.classes.labels]
        condition = max(condition, *(1.0 / aperture for aperture in apertures))
        return reported(
            network, self.classes.inputs, targets, condition=condition, order=tuple(self.order), apertures=apertures
        )


Chooser = Callable[[Collapse], tuple[int, Plane] | None]


def collapsed(classes: Classes, choose: Chooser) -> Collapse:
    """All classes made points, one after the other, by the planes that are chosen.

    Where none is found after the first stage it may be the base points that are in the way: they are put elsewhere.
    The state returned is that of the attempt that went furthest.
    """
    furthest = Collapse.of(classes)
    for attempt in range(ATTEMPTS):
        state = Collapse.of(classes, attempt)
        while state.remaining and (move := choose(state)) is not None:
            state.take(*move)
        if attempt == 0 or len(state.order) > len(furthest.order):
            furthest = state
        if not furthest.remaining or not furthest.order:
            break
    return furthest


def plane_between(inside: Tensor, outside: Tensor, direction: Tensor) -> Plane | None:
    """The plane across a direction in the middle between both, or None where it has no middle."""
    normal = direction / norm(direction)
    below = float((inside @ normal).max())
    above = float((outside @ normal).min()) if len(outside) else below + 2.0 * max(1.0, abs(below))
    if not above > below:
        return None
    return Plane(normal, 0.5 * (below + above), 0.5 * (above - below))


def _split(v: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
    """`a = h·v` and `‖v − a h‖`, row by row."""
    a = v @ normal
    return a, (v - a[:, None] * normal).norm(dim=1)


def _reflection(normal: Tensor) -> Tensor:
    """The Householder reflection R with `R h = u`, u = (1, …, 1)/√M."""
    m = len(normal)
    v = normal - torch.full_like(normal, 1.0 / math.sqrt(m))
    square = float(v @ v)
    unit = torch.eye(m, dtype=normal.dtype, device=normal.device)
    return unit if square == 0.0 else unit - (2.0 / square) * torch.outer(v, v)


def _independent(points: Tensor) -> bool:
    """Whether points are affinely independent, with digits to spare."""
    table = torch.cat(
        [points - points.mean(0), torch.full_like(points[:, :1], max(float(points.abs().max()), 1e-300))], 1
    )
    sigma = singular_values(table)
    return len(points) <= table.shape[1] and bool(sigma[-1] > INDEPENDENT * sigma[0])
