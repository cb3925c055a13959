"""How the steps of a stage are solved for, in words and numbers, for each kind of lift."""

from dataclasses import dataclass
from functools import singledispatch

import torch

from geodescent._budget import FRACTION, allowed_bytes, budget, fits
from geodescent.descent import FIRST_BATCH, OWN_PRODUCTS, Soap, Stage, eigenvectors_price, planned_lift
from geodescent.doors.planning._look import Look, seconds_of
from geodescent.jacobian import is_recorded
from geodescent.lift import (
    BLOCKS_BYTES,
    DENSE_MATRICES,
    PRODUCT_DAMPING,
    CheaperLift,
    DenseLift,
    GradientLift,
    GramLift,
    KrylovLift,
    Lift,
    NormalLift,
    PacedLift,
    PlannedLift,
    RowBlocks,
    SketchedLift,
    factors_flops,
    known_by_products,
    lift_used,
)
from geodescent.linalg import STEP_ITERATIONS
from geodescent.problem import OF_ALL, EpochsSource, GrowingSource, ShuffledSource

ITERATIONS_OF_A_STEP = 8.0  # Of the inexact solves of a step: between 3 and 15 on the problems measured.
FACTORS_OF_A_STEP, SOLVES_AT_A_FACTOR, SECOND_DERIVATIVES, PASSES_OF_A_STEP = 3.0, 3.0, 2.0, 4.0
"""Of an exact step that tries another damping once: the mean of six fits was 2.9, 2.9, 2.0 and 4.2."""
FEW_ITERATIONS = 4.0  # Of the solves of a step behind sketched factors.
PASSES_OF_TRIAL = 2.0  # Forward passes of an inexact step: of its trial, and of one more where a damping is refused.
DIRECT_SECONDS = 0.5  # An inexact solve that is taken to be shorter is measured.
VECTORS = 6.0  # Of K numbers, in conjugate gradients.
DIRECT_FLOPS = 1e9  # A solve with fewer flops, some tenths of a second, is measured; others by the rate of products.
EARLY_DAMPING, LATE_DAMPING = 1e-3, 1e-3 * PRODUCT_DAMPING
"""Of ‖B‖_F²: dampings at which solves are measured, as at the start of a fit and near its end, which needs D itself."""


@dataclass(frozen=True)
class Solves:
    """The solves of a step.

    Attributes:
        words: what is done.
        order: of the matrix that is factorised; None for none.
        seconds: of a step, linearisation and trials included; None where nothing is known of its solves.
        late_seconds: the same near the end, where dampings are small; None where that was not measured.
        numbers: that are held beside D; None for unknown.
        products: pairs of products that a step on a batch takes as long as; None for other steps.
    """

    words: str
    order: int | None = None
    seconds: float | None = None
    late_seconds: float | None = None
    numbers: float | None = None
    products: float | None = None


def used(stage: Stage, look: Look) -> Lift:
    """The lift that is used for a stage's steps."""
    device = look.problem.device
    if isinstance(stage.lift, CheaperLift):
        return _cheaper(stage.lift, look)
    last = look.jacobian if look.times == 1.0 else None
    return lift_used(stage.lift, look.shape, last, dtype=stage.solve_dtype, device=device)


def _cheaper(lift: CheaperLift, look: Look) -> Lift:
    if look.times == 1.0:
        return lift.chosen(look.jacobian)
    return lift.matrix if factors_flops(look.jacobian) >= look.flops_of(lift.matrix) else lift.inexact


# --- why ------------------------------------------------------------------------------------------------------------


def why(stage: Stage, look: Look, *, is_planned: bool) -> str:
    """What decides which solves a stage takes, with the number and its limit."""
    if not is_planned and not isinstance(stage.lift, PlannedLift):
        return "as method= asks"
    if isinstance(stage.source, (EpochsSource, ShuffledSource)):
        n = stage.source.first.blocks[0].n_samples
        return (
            f"{n:,} samples, no fewer than {OF_ALL * FIRST_BATCH:,}: far from the minimum a step on few of them lowers "
            f"the cost of all for a small part of the price{_of_gradients(stage)}"
        )
    if isinstance(stage.source, GrowingSource):
        return (
            f"a matrix for {look.shape[1]:,} parameters K and the rows of all data is too large: where memory allows, "
            f"matrices are factorised up to the order {budget().factor_order:,}; a step on few samples lowers the cost "
            "of all for a small part of the price"
        )
    return _reason(stage.lift, look)


def _of_gradients(stage: Stage) -> str:
    """Why steps go along gradients, where they do."""
    is_so = isinstance(stage.source, EpochsSource)
    return (
        "; products with D and its columns take passes through a recorded call, of which a gradient takes one" * is_so
    )


@singledispatch
def _reason(lift: Lift, look: Look) -> str:
    return _by_size(planned_lift(look.problem), look)


@_reason.register
def _(lift: PlannedLift, look: Look) -> str:
    return _by_size(lift, look)


@_reason.register
def _(lift: SketchedLift, look: Look) -> str:
    planned = planned_lift(look.problem)
    is_large = isinstance(planned.choice(*look.shape, dtype=torch.float64, device=look.problem.device), KrylovLift)
    why = _by_size(planned, look) if is_large else "the columns of D would take a backward pass for each output"
    if not is_recorded(look.jacobian):
        return why
    worth = eigenvectors_price(look.jacobian, look.product_flops)
    return (
        f"{why}; the eigenvectors of the layers' factors, which save iterations, cost as much as {worth:,.0f} of them"
    )


@_reason.register
def _(lift: PacedLift, look: Look) -> str:
    return "a step with D formed would take too much of max_seconds"


@_reason.register
def _(lift: CheaperLift, look: Look) -> str:
    factors, exact = factors_flops(look.jacobian), look.flops_of(lift.matrix)
    if isinstance(_cheaper(lift, look), KrylovLift):
        worth = exact / look.product_flops
        return (
            f"an exact step costs as much as {worth:,.0f} iterations of these, more than {STEP_ITERATIONS:g}, and far "
            "from the minimum few digits of a step lower the cost as much as all"
        )
    return f"the factors of an inexact step would cost as much as its matrix: {factors:.1g} flops and {exact:.1g}"


def _by_size(lift: PlannedLift, look: Look) -> str:
    if known_by_products(look.jacobian):
        return "D has products alone: its rows would take too long, or too much memory"
    (m, k), device = look.shape, look.problem.device
    smaller, largest = min(m, k), lift.largest_order
    named = f"{smaller:,} {'rows m' if m <= k else 'parameters K'}"
    if smaller > largest:
        return f"{named}, and matrices are factorised up to the order {largest:,}"
    n_bytes = DENSE_MATRICES * smaller**2 * torch.float64.itemsize
    if not fits(n_bytes, device):
        room = allowed_bytes(device) / 1e9
        return (
            f"{named}: a matrix of this order takes {n_bytes / 1e9:.2g} GB, and {FRACTION:.0%} of the free memory "
            f"are {room:.2g} GB"
        )
    side = f"no more than the {k:,} parameters K" if m <= k else f"fewer than the {m:,} rows m"
    return f"{named}, {side}, and at most {largest:,}, the largest order that is factorised"


# --- what, and how long ---------------------------------------------------------------------------------------------


@singledispatch
def solves(lift: Lift, stage: Stage, look: Look) -> Solves:
    """Of a kind of lift that is not known here, its own text."""
    return Solves(f"{lift.name}: {lift}")


@solves.register
def _(lift: GramLift, stage: Stage, look: Look) -> Solves:
    return _exact(lift, look, "exact solves with G = DDᵀ")


@solves.register
def _(lift: NormalLift, stage: Stage, look: Look) -> Solves:
    return _exact(lift, look, "exact solves with DᵀD")


@solves.register
def _(lift: KrylovLift, stage: Stage, look: Look) -> Solves:
    jacobian, k = look.jacobian, look.shape[1]
    blocks = RowBlocks.flops(jacobian)
    if lift.slack == 0.0:
        return Solves(f"conjugate gradients on products with D, to a residual of {lift.tol:g}", numbers=VECTORS * k)
    by_blocks = 0.0 < blocks < STEP_ITERATIONS * jacobian.product_flops()
    behind = "blocks of G" if by_blocks else "two small factors for each layer"
    behind = behind if jacobian.holds_rows else "the diagonal of G"
    factors = blocks * look.times**2 / look.rate if by_blocks else factors_flops(jacobian) / look.factor_rate
    factors = factors if jacobian.holds_rows else 0.0
    solving = factors + ITERATIONS_OF_A_STEP * look.pair(lift.products or jacobian.dtype) + look.product
    held = sum(float(b.n_samples) ** 2 * b.n_outputs for b in look.problem.blocks) if by_blocks else 0.0
    words = f"inexact solves: a few conjugate gradients, behind {behind}"
    numbers = VECTORS * k + min(held, BLOCKS_BYTES / jacobian.dtype.itemsize)
    return Solves(words, seconds=_inexact(lift, look, solving), numbers=numbers)


@solves.register
def _(lift: SketchedLift, stage: Stage, look: Look) -> Solves:
    k, iterations = look.shape[1], FEW_ITERATIONS
    pair = look.product if look.in_passes else look.pair(lift.products or look.jacobian.dtype)
    seconds = (iterations + OWN_PRODUCTS) * pair

    def solve() -> None:
        nonlocal iterations
        prepared = lift.prepare(look.jacobian)
        iterations = prepared.damped(EARLY_DAMPING * prepared.mean_square).lift(-look.residual).iterations

    if look.times == 1.0 and seconds <= DIRECT_SECONDS:
        seconds = max(seconds, seconds_of(solve, look.problem.device))
    pieces = [piece for block in look.jacobian.blocks for piece in block.kinds]
    moments = sum(float(size) ** 2 for piece in pieces for size in piece.index.shape if piece.index.dim() > 1)
    words = "short solves: few conjugate gradients, behind sketched factors of the layers"
    seconds = look.linearisation + seconds + PASSES_OF_TRIAL * look.forward
    return Solves(words, seconds=seconds, numbers=VECTORS * k + moments, products=iterations + OWN_PRODUCTS)


@solves.register
def _(lift: GradientLift, stage: Stage, look: Look) -> Solves:
    moments = stage.control.bases.size if isinstance(stage.control, Soap) else 0
    words = "no solves: one gradient, in the eigenvectors of the second moments of the layers' gradients"
    return Solves(words, seconds=look.gradient, numbers=VECTORS * look.shape[1] + 2.0 * moments)


@solves.register
def _(lift: PacedLift, stage: Stage, look: Look) -> Solves:
    words = "inexact solves: a few conjugate gradients on products with D"
    solving = (ITERATIONS_OF_A_STEP + 1.0) * look.product
    return Solves(words, seconds=_inexact(lift, look, solving), numbers=VECTORS * look.shape[1])


def _inexact(lift: Lift, look: Look, solving: float) -> float:
    """Seconds of a step, its solve measured where it does not take long.

    Args:
        solving: seconds of the solve as far as its parts tell.
    """
    if look.times == 1.0 and solving <= DIRECT_SECONDS:

        def solve() -> None:
            prepared = lift.prepare(look.jacobian)
            prepared.damped(EARLY_DAMPING * prepared.mean_square).lift(-look.residual)

        solving = max(solving, seconds_of(solve, look.problem.device))
    return look.linearisation + solving + PASSES_OF_TRIAL * look.forward


def _exact(lift: DenseLift, look: Look, words: str) -> Solves:
    by_rows = isinstance(lift, GramLift)
    (m, k), flops = look.shape, look.flops_of(lift)
    order = m if by_rows else k
    trials = SECOND_DERIVATIVES * look.second_derivative + PASSES_OF_A_STEP * look.forward
    if look.times == 1.0 and flops <= DIRECT_FLOPS:
        first, late = (look.linearisation + trials + solving for solving in _measured(lift, look))
    else:
        products = FACTORS_OF_A_STEP * SOLVES_AT_A_FACTOR * (0.5 if by_rows else 2.0) * look.product
        first, late = look.linearisation + trials + flops / look.rate + products, None
    formed = 2.0 * min(m * k, budget().rows_numbers)  # rows of D, and what they are made of
    return Solves(f"{words} of order {order:,}", order, first, late, DENSE_MATRICES * order**2 + formed)


def _measured(lift: DenseLift, look: Look) -> tuple[float, float]:
    """Seconds of the matrix, of its factors and solves in a step: in a first one, and in a late one."""
    jacobian, rows, device = look.jacobian, look.residual, look.problem.device
    prepared = lift.prepare(jacobian)
    matrix = seconds_of(lambda: lift.prepare(jacobian), device)
    size = prepared.mean_square * jacobian.n_residuals

    def solving(damping: float) -> float:
        def solve() -> None:
            damped = prepared.damped(damping)
            for _ in range(round(SOLVES_AT_A_FACTOR)):
                damped.lift(rows)

        return FACTORS_OF_A_STEP * seconds_of(solve, device)

    return matrix + solving(EARLY_DAMPING * size), matrix + solving(LATE_DAMPING * size)
