"""Networks that fit separable and clustered classes exactly, without descent."""

import torch
from scipy.optimize import nnls
from torch import Tensor

from geodescent._errors import InputError
from geodescent.constructive._classes import Classes
from geodescent.constructive._explicit import Explicit
from geodescent.constructive._truncation import Collapse, Plane, collapsed, plane_between
from geodescent.linalg import norm

FREE = 1e3  # The constant column that stands for the offset: it weighs 1e-6 of the normal, which alone is to be short.


def separable(X: Tensor, Y: Tensor) -> Explicit:
    """A ReLU network of zero cost for classes that can be separated by hyperplanes one after the other.

    One hidden layer of width M a class: at each stage the class with the widest gap to everything else is collapsed to
    a point by a truncation map, all others stay. The last layer takes the J points to their targets.

    Args:
        X: inputs, (N, M).
        Y: targets, (N, Q), constant on classes: rows with the same target are one class. J classes, J ≤ M + 1.

    Returns:
        An ordinary network in X's dtype; `report` has the order, the apertures and the condition number.

    Raises:
        InputError: more classes than M + 1, or a stage at which no class has a hyperplane to itself, with their names.

    Cost: J(J+1)/2 separations, each a nonnegative least-squares problem of M + 2 rows and N columns.
    Source: arXiv:2405.07098.
    """
    classes = _few_enough(Classes.of(X, Y), 1)
    return _whole(collapsed(classes, _widest), "no hyperplane has one class alone on its side").network()


def clustered(X: Tensor, Y: Tensor) -> Explicit:
    """A ReLU network of zero cost for classes that lie in balls around their means, far enough from each other.

    As `separable`, with planes across the lines from each class mean to the mean of the means, in closed form.

    Args:
        X: samples, as in `separable`.
        Y: their targets, with J ≤ M different rows.

    Raises:
        InputError: more than M classes, means that are affinely dependent, or a class whose plane cuts another.

    Source: arXiv:2405.07098.
    """
    classes = _few_enough(Classes.of(X, Y), 0)
    means = classes.means()
    rank = int(torch.linalg.matrix_rank(means[1:] - means[0])) if len(classes) > 1 else 0
    if rank < len(classes) - 1:
        raise InputError(
            f"the {len(classes)} class means span {rank} dimensions, {len(classes) - 1} are needed: they are affinely "
            "dependent. Use separable(X, Y)."
        )
    reason = "on the line from its mean to the mean of all means every class left reaches further than another begins"
    return _whole(collapsed(classes, _towards_the_middle), reason).network()


def _few_enough(classes: Classes, more: int) -> Classes:
    most = classes.width + more
    if len(classes) > most:
        raise InputError(
            f"Y has {len(classes)} different rows, the classes, and X {classes.width} columns: at most {most} classes "
            "can be taken apart. Use wide(X, Y), or more features."
        )
    return classes


def _whole(state: Collapse, reason: str) -> Collapse:
    """The state, if every class is a point."""
    if state.remaining:
        names = "; ".join(state.classes.name(j) for j in state.remaining)
        raise InputError(
            f"stage {len(state.order) + 1} of {len(state.classes)}: {reason}, in the orders tried (widest gap first). "
            f"Left are {names}."
        )
    return state


def _widest(state: Collapse) -> tuple[int, Plane] | None:
    """The class with the widest gap, and the plane in its middle."""
    return _best({j: widest_gap(*state.sides(j)) for j in state.remaining})


def _best(candidates: dict[int, Plane | None]) -> tuple[int, Plane] | None:
    planes = {j: plane for j, plane in candidates.items() if plane is not None}
    if not planes:
        return None
    j = max(planes, key=lambda j: planes[j].gap)
    return j, planes[j]


def widest_gap(inside: Tensor, outside: Tensor) -> Plane | None:
    """The plane of largest distance from both, or None where there is none: a support vector machine with hard margin.

    The shortest h with `h·z − c ≥ 1` outside and `≤ −1` inside, as a nonnegative least-squares problem.

    Source: Lawson & Hanson, *Solving Least Squares Problems*, chapter 23 (LDP).
    """
    if not len(outside):
        return plane_between(inside, outside, torch.ones_like(inside[0]))
    points = torch.cat([inside, outside])
    signs = torch.cat([-torch.ones_like(inside[:, 0]), torch.ones_like(outside[:, 0])])
    middle = 0.5 * (inside.mean(0) + outside.mean(0))
    scale = float((points - middle).norm(dim=1).mean()) or 1.0
    rows = torch.cat([(points - middle) / scale, torch.full_like(points[:, :1], FREE)], 1) * signs[:, None]
    table = torch.cat([rows, torch.ones_like(rows[:, :1])], 1).T.cpu().numpy()
    goal = torch.zeros(len(table), dtype=torch.float64, device="cpu")
    goal[-1] = 1.0
    try:
        dual, _ = nnls(table, goal.numpy(), maxiter=20 * table.shape[1])
    except RuntimeError:  # it did not end: as good as no gap
        return None
    residual = torch.from_numpy(table @ dual) - goal
    direction = residual[:-2].to(points)
    return plane_between(inside, outside, direction) if norm(direction) > 0.0 else None


def _towards_the_middle(state: Collapse) -> tuple[int, Plane] | None:
    """The class whose plane across the line to the mean of the means leaves most room."""
    means = state.classes.means()
    ways = means.mean(0) - means if len(means) > 1 else torch.ones_like(means)
    return _best({j: plane_between(*state.sides(j), ways[j]) for j in state.remaining})
