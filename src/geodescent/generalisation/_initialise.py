"""The door initialise: the scale of the first layer, chosen by leave-one-out of the linear model at the start."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from geodescent._errors import InputError
from geodescent._types import Outputs, Theta
from geodescent.generalisation._chosen_start import NOISY, Candidate, Start
from geodescent.generalisation._leave_one_out import LeaveOneOut, leave_one_out, modes_of_gram, modes_of_rows
from geodescent.jacobian import Jacobian
from geodescent.outputs import Inputs, SampleMap, left_as_found, map_inputs, probe, take
from geodescent.problem import Problem, RowBlock, active, conflict_cost, identical_groups

GAINS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
LEAST_SAMPLES, MOST_SAMPLES = 300, 2000  # left out in turn: as many as the flops below allow, within these
NOISE_SAMPLES = 800  # and this many at least where the first ones look noisy, but not hopeless
HOPELESS = 0.4  # of the targets' variance, left out: no noise, but what such a network cannot learn
ROWS_FLOPS = 1e8  # of m·K·min(m, K): D is decomposed in some 0.05 s
ROWS_LIMIT = 1e9  # and never above this: G alone
BLOCK_ROWS = 300  # with several outputs: the largest G that is decomposed, else K̄
BLOCK_NUMBERS = 1e5  # of all diagonal blocks together, at one ridge
SMALL_PART = 0.25  # of the weight: too few samples make every function look smoother and gains below 1 look better
TIE = 1.1  # errors this close are the same: the gain nearest to the network's own start is kept
ROWS, GRAM, MEAN_GRAM = "rows", "gram", "mean gram"  # what was decomposed
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def initialise(
    model: nn.Module,
    X: Inputs,
    y: Tensor,
    *,
    weights: Tensor | None = None,
    select: Callable[[Any], Tensor] | None = None,
    gains: Sequence[float] = GAINS,
    max_samples: int = MOST_SAMPLES,
    seed: int = 0,
) -> Start:
    """Multiplies the first layer, in place, by the gain whose linear model leaves out the least cost.

    At each gain: `min_λ Σ_i ‖B_ii⁻¹[(G + λ)⁻¹(x − y)]_i‖²/(2N)` (THEORY 5.4); the outputs of a sample are left out
    together, and so are samples with identical inputs. Gains are tried from the one nearest to 1 upwards, else
    downwards, as long as the error falls. The first layer is every linear or convolutional layer that is
    called on what depends on no parameter. Errors within 10 % of the least count as equal to it, and of these the gain
    nearest to 1 is taken. Gains below 1 are not taken on the word of less than a quarter of the samples, unless 800 of
    them look noisy: data that look so are looked at again on as many (docs/decisions.md).

    Args:
        model, X, y, weights: as in `fit`; nothing but the first layer is changed.
        select: picks the outputs from what the model returns, where that is not one tensor.
        gains: candidates, > 0.
        max_samples: at most this many samples, a random part of them, are left out in turn.
        seed: of that random part; the global random state is not touched.

    Returns:
        What was found and changed; its str is for people. Without a first layer, or with less than two distinct
        samples, nothing is changed and `reason` says so.

    Raises: InputError, JacobianError, MemoryPlanError: with the numbers and the way out; the model is as it was.
    Cost: for each gain tried, mostly two or three, D or G of a part of the samples and its decomposition: 0.01 to
        0.1 s on the cases measured; the second look at noise 0.15 to 0.2 s.
    """
    _check(gains, max_samples)
    problem = Problem.of(model, X, y, weights=weights, select=select)
    first = first_layer(problem.blocks[0].map)
    gains, count = sorted(set(gains)), min(max_samples, _affordable(problem))
    start = _looked(problem, first, gains, count, seed)
    more = min(NOISE_SAMPLES, len(active(problem.blocks[0])))
    if max_samples >= more > count and _asks_for_more(start):
        start = _looked(problem, first, gains, more, seed)
    if start.reason is None:
        problem.write(_scaled(problem.theta, torch.cat(list(first.values())), start.gain))
    return start


def first_layer(outputs: SampleMap) -> dict[str, Tensor]:
    """Name → entries of θ, of the layers that are called on what depends on no parameter, in the order of the calls."""
    found = dict[str, Tensor]()

    def look_at(name: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if not (args[0] if args else kwargs["input"]).requires_grad:
                found.setdefault(name, torch.cat([e.reshape(-1) for e in outputs.routes.index[name].values()]))

        return hook

    layers = {name: m for name, m in outputs.routes.modules.items() if isinstance(m, LAYERS)}
    handles = [m.register_forward_pre_hook(look_at(name), with_kwargs=True) for name, m in layers.items()]
    try:
        with left_as_found(outputs.model, outputs.device), torch.enable_grad():
            leaves = outputs.function.leaves(outputs.theta)
            outputs.function.outputs(leaves, map_inputs(torch.Tensor.detach, probe(outputs.inputs, 2)))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _looked(problem: Problem, first: dict[str, Tensor], gains: list[float], count: int, seed: int) -> Start:
    """What so many of the samples say of the gains; nothing is changed.

    Gains below 1 are not taken on the word of a small part, unless it is large enough to know noise and sees it.
    """
    part, spread = _part(problem, count, seed)
    (block,), n, given = part.blocks, len(part.blocks[0].target), len(problem.blocks[0].target)
    if not first:
        reason = "no linear or convolutional layer is called on the inputs themselves."
        return Start(1.0, (), (), math.nan, n, given, reason)
    if n < 2:
        reason = f"{n} distinct sample of positive weight leaves nothing to learn from."
        return Start(1.0, (), (), math.nan, n, given, reason)
    theta, entries = problem.theta, torch.cat(list(first.values()))

    def at(gain: float, *, by_rows: bool) -> Candidate:
        return _candidate(part, _scaled(theta, entries, gain), gain, spread, by_rows=by_rows)

    begin, cost_of_mean = at(_nearest(gains), by_rows=False), conflict_cost(part, block, list(range(n))) + spread
    noisy = begin.error > NOISY * cost_of_mean and begin.route != MEAN_GRAM and count >= NOISE_SAMPLES
    small = part.n_samples < SMALL_PART * problem.n_samples and not noisy
    candidates = _candidates(begin, partial(at, by_rows=begin.route == ROWS), gains, small=small)
    gain = _chosen(candidates, small=small)
    if gain is None:
        return Start(1.0, (), candidates, cost_of_mean, n, given, "no gain gives finite outputs and derivatives.")
    return Start(gain, tuple(first), candidates, cost_of_mean, n, given)


def _asks_for_more(start: Start) -> bool:
    """Whether data look noisy, but not hopeless; K̄ is too coarse for what more samples would tell."""
    chosen = start.chosen
    return (
        start.noisy
        and chosen is not None
        and chosen.route != MEAN_GRAM
        and chosen.error < HOPELESS * start.cost_of_mean
    )


def _part(problem: Problem, max_samples: int, seed: int) -> tuple[Problem, float]:
    """Some of the samples of positive weight, identical ones merged, and the cost that merging hides."""
    (block,) = problem.blocks
    weights = torch.ones_like(block.target[:, 0]) if block.weights is None else block.weights.to(block.target)
    samples = active(block)
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))
    kept = [samples[i] for i in order[:max_samples].sort().values.tolist()]
    drawn = replace(
        block, map=block.map.on(take(block.map.inputs, kept)), target=block.target[kept], weights=weights[kept]
    )
    groups = identical_groups(drawn)
    spread = sum(conflict_cost(Problem((drawn,)), drawn, group) for group in groups)
    return Problem((_merged(drawn, weights[kept], groups),)), spread


def _merged(block: RowBlock, weights: Tensor, groups: list[list[int]]) -> RowBlock:
    """Each group as one sample of the group's weight and mean target: all that a ridge solution sees of it."""
    target, weights = block.target.clone(), weights.clone()
    for group in groups:
        first, share = group[0], weights[group, None] / weights[group].sum()
        target[first] += (share * (target[group] - target[first])).sum(0)
        weights[first] = weights[group].sum()
    repeated = {i for group in groups for i in group[1:]}
    rest = [i for i in range(len(target)) if i not in repeated]
    return RowBlock(block.name, block.map.on(take(block.map.inputs, rest)), target[rest], weights[rest])


def _affordable(problem: Problem) -> int:
    """How many samples the flops allow."""
    k, q = problem.n_params, problem.n_outputs
    rows = max(math.sqrt(ROWS_FLOPS / k), ROWS_FLOPS / k**2)  # the first where m ≤ K, else the second
    return max(LEAST_SAMPLES, int(rows / q))


def _scaled(theta: Theta, entries: Tensor, gain: float) -> Theta:
    scaled = theta.clone()
    scaled[entries] *= gain
    return scaled


def _nearest(gains: list[float]) -> float:
    """To the network's own start, gain 1."""
    return min(gains, key=lambda gain: abs(math.log(gain)))


def _candidates(
    begin: Candidate, at: Callable[[float], Candidate], gains: list[float], *, small: bool
) -> tuple[Candidate, ...]:
    """From the first one upwards, then downwards, each way as long as the error falls: it has one valley."""
    first = gains.index(begin.gain)
    found = {first: begin}
    for way in (range(first + 1, len(gains)), range(first - 1, -1, -1)):
        least = found[first].error
        for i in way:
            if small and gains[i] < 1.0 and math.isfinite(least):
                break
            found[i] = at(gains[i])
            if math.isfinite(least) and not found[i].error < least:
                break
            least = min(least, found[i].error)
        if least < found[first].error:
            break
    return tuple(found[i] for i in sorted(found))


def _candidate(part: Problem, theta: Theta, gain: float, spread: float, *, by_rows: bool) -> Candidate:
    outputs, jacobian = part.linearise(theta)
    scale = part.row_scale
    residual = part.residual(outputs).double() * (1.0 if scale is None else scale)
    rows = jacobian.to(torch.float64).scaled(rows=scale)
    found, route = _left_out(rows, residual, part, torch.finfo(theta.dtype).eps, by_rows=by_rows)
    return Candidate(gain, found.error + spread, found.ridge, found.rank, route)


def _left_out(
    rows: Jacobian, residual: Outputs, part: Problem, eps: float, *, by_rows: bool
) -> tuple[LeaveOneOut, str]:
    """By D where it has few columns or where that is asked for; else by G, unless G is singular to rounding.

    A singular G hides small ridges: there D answers again.

    Args:
        by_rows: whether G was singular at another gain already.
    """
    n, q, (m, k) = part.n_samples, part.n_outputs, rows.shape
    if not bool(torch.isfinite(residual).all() and torch.isfinite(rows.row_squares()).all()):
        return LeaveOneOut(math.inf, math.inf, 0), "nothing"
    column, small = residual[:, None], m * k * min(m, k) <= ROWS_LIMIT and m * q <= BLOCK_NUMBERS
    if not (small and (k < m or by_rows)):
        if q > 1 and m > BLOCK_ROWS:
            modes = modes_of_gram(rows.mean_gram(), eps=eps)
            return leave_one_out(modes, residual.reshape(-1, q), n_samples=n, block=1), MEAN_GRAM
        modes = modes_of_gram(rows.gram(), eps=eps)
        if modes.rank == m or not small:
            return leave_one_out(modes, column, n_samples=n, block=q), GRAM
    return leave_one_out(modes_of_rows(rows.dense(), eps=eps), column, n_samples=n, block=q), ROWS


def _chosen(candidates: tuple[Candidate, ...], *, small: bool) -> float | None:
    """The gain nearest to 1 among those whose error is the least, or as good as; none below 1 from a small part."""
    finite = [c for c in candidates if math.isfinite(c.error)]
    offered = [c for c in finite if c.gain >= 1.0 or not small] or finite
    least = min((c.error for c in offered), default=math.inf)
    tied = [c.gain for c in offered if c.error <= TIE * least]
    return _nearest(tied) if tied else None


def _check(gains: Sequence[float], max_samples: int) -> None:
    if not gains or not all(math.isfinite(gain) and gain > 0.0 for gain in gains):
        raise InputError(f"gains = {tuple(gains)}: positive, finite factors are needed, for example (0.5, 1, 2, 4).")
    if max_samples < 2:
        raise InputError(f"max_samples = {max_samples}: at least 2 are needed to leave one out.")
