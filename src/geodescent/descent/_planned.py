"""The stages of a fit by the default method, from the size of its problem and the time that it has."""

from dataclasses import dataclass, replace

import torch

from geodescent.descent._control import STATIONARY
from geodescent.descent._gain_ratio import GainRatio
from geodescent.descent._linearised import Linearised
from geodescent.descent._natural import NaturalControl
from geodescent.descent._opening import first_batch, opening
from geodescent.descent._stages import (
    VALLEY,
    VALLEY_OF_EQUATIONS,
    Leave,
    OpeningEnds,
    PartEnds,
    Stage,
    planned_lift,
)
from geodescent.descent._state import State
from geodescent.descent._walk import EulerWalk, GeodesicWalk
from geodescent.descent.first_order import gradients_stage
from geodescent.jacobian import CALL_FLOPS, BlockJacobian, OuterColumns, random_sums
from geodescent.lift import INEXACT, CheaperLift, DenseLift, KrylovLift, PacedLift, PlannedLift, solving_flops
from geodescent.linalg import STEP_ITERATIONS
from geodescent.outputs import SampleMap
from geodescent.problem import (
    FixedSource,
    PartSource,
    Problem,
    Source,
    are_exact,
    sampled_block,
    timely_source,
    with_exact_values,
)

MANY_PARAMETERS = 10_000
"""From here on an exact step takes as long as tens of gradients, even where the rows are few: a network of 68,865 on
2,000 samples had its first step after 126 of them, and after 5 with batches."""


@dataclass(frozen=True)
class MeasuredExactly:
    """Ends a stage of equations once their measured values turn out to be exact.

    Measured values have a small weight, so that equations do not give way to their errors. Where the fit meets them to
    more digits than anybody measures, there is no error to give way to, and the small weight costs digits of unknown
    coefficients.

    Args:
        problem: whose measured values.
    """

    problem: Problem
    stages: int = 1
    least_fall: float = STATIONARY

    def is_over(self, here: Linearised, state: State) -> bool:
        """Whether the last record shows that they are met."""
        return are_exact(self.problem, state.records[-1].block_rms)


def planned_stages(problem: Problem, part: Problem | None = None, *, opens: bool = True) -> tuple[Stage, ...]:
    """The stages of a fit of one problem by the default method.

    Where a matrix of the problem can be factorised: an opening with inexact solves, then steps with exact ones. Where
    it is too large for that: short steps on batches that grow, then on all samples, then inexact ones (`opening`).
    From `MANY_PARAMETERS` on, steps on batches come before the opening too.
    With a part of the samples, both on the part first, and then on all. Where measured values of equations turn out to
    be exact, steps that weigh them as such; costs stay those of the problem. Where a step takes too long for the time
    that is left to a deadline, all steps by few products with D, on as many samples, drawn anew, as are in time.

    Args:
        part: some of the samples, or None.
        opens: whether a large problem has the stages of short steps; in a loop of the user's own each step is a batch.
    """
    lift = planned_lift(problem)
    chosen = lift.choice(problem.n_residuals, problem.n_params, dtype=torch.float64, device=problem.device)
    source = FixedSource(problem)
    short = _short_steps(source, chosen) if opens and part is None else ()
    timely = timely_source(problem, first_batch(problem) if short else part)
    if timely is not None:
        return (Stage(timely, PacedLift() if timely.by_products else INEXACT, EulerWalk(), GainRatio()),)
    stages = _on(source, lift, chosen, ())
    if part is None:
        stages = (*short, *stages)
        return (*stages[:-1], *_in_the_light_of_measured_values(stages[-1], source))
    return (*_on(PartSource(source, part), lift, chosen, (PartEnds(len(stages)),)), *stages)


def _short_steps(source: FixedSource, chosen: DenseLift | KrylovLift) -> tuple[Stage, ...]:
    """The stages of short steps, where others take long.

    Args:
        chosen: the lift of later steps.
    """
    problem = source.first
    plain, is_large = _is_of_plain_layers(problem), isinstance(chosen, KrylovLift)
    recorded = None if plain and is_large else _of_recorded_calls(problem)
    if is_large or (recorded is not None and _is_better_by_products(problem, recorded)):
        if first_batch(problem) is None or plain or recorded is None:
            return opening(source)
        gradients = gradients_stage(problem, recorded)
        return opening(source) if gradients is None else (gradients, *opening(source)[1:])
    if problem.n_params < MANY_PARAMETERS or first_batch(problem) is None:
        return ()
    return opening(source)[:1]  # on batches alone: on all samples exact steps are affordable


def _of_recorded_calls(problem: Problem) -> BlockJacobian | None:
    """D of two samples, where all columns of D take a pass for each output, and a product takes one; else None."""
    sampled = sampled_block(problem)
    if problem.has_equations or sampled is None:
        return None
    block, outputs = sampled
    rows = torch.arange(min(2, block.n_samples), device=problem.device)
    few = Problem((block.of_samples(outputs.at(rows), block.target[rows], None),))  # whatever they weigh
    jacobian = few.linearise(few.theta)[1]
    return jacobian if isinstance(jacobian, BlockJacobian) and random_sums(jacobian) is not None else None


def _is_of_plain_layers(problem: Problem) -> bool:
    """Whether all parameters are of linear layers and convolutions that the model calls as such.

    There a short solve takes as long as 4 or 5 gradients of the same batch, which it repays; with weights of recurrent
    cells and attention, or of normalisations, 6 to 8, which it does not.
    """
    outputs = problem.blocks[0].map
    if not isinstance(outputs, SampleMap) or outputs.routes.products or outputs.routes.rest:
        return False
    return all(isinstance(kind, OuterColumns) for kind in outputs.routes.outline)


def _is_better_by_products(problem: Problem, jacobian: BlockJacobian) -> bool:
    """Whether the solves of an exact step alone cost more than a step by products.

    Args:
        jacobian: of some samples.
    """
    calls = CALL_FLOPS * sum(len(block.kinds) for block in jacobian.blocks)
    product_flops = calls + (jacobian.product_flops() - calls) * problem.n_residuals / jacobian.n_residuals
    return solving_flops(min(problem.n_residuals, problem.n_params)) > STEP_ITERATIONS * product_flops


def _on(
    source: Source, lift: PlannedLift, chosen: DenseLift | KrylovLift, leave: tuple[Leave, ...]
) -> tuple[Stage, ...]:
    """The stages on one source."""
    if isinstance(chosen, KrylovLift):
        return (Stage(source, chosen, EulerWalk(), GainRatio(), leave),)
    inexact = KrylovLift(tol=INEXACT.tol, max_iterations=INEXACT.max_iterations, slack=INEXACT.slack)
    ends = OpeningEnds(chosen, below=VALLEY_OF_EQUATIONS if lift.for_exact else VALLEY)
    opening = Stage(source, CheaperLift(inexact, chosen), EulerWalk(), GainRatio(), (ends, *leave))
    return opening, Stage(source, lift, GeodesicWalk(), NaturalControl(), leave)


def _in_the_light_of_measured_values(last: Stage, source: FixedSource) -> tuple[Stage, ...]:
    """The last stage, and one after it for the case that measured values of equations turn out to be exact."""
    raised = with_exact_values(source.first)
    if raised is None:
        return (last,)
    ends = MeasuredExactly(source.first)
    first = replace(last, leave=(*last.leave, ends), ends_without_step=True)
    return first, replace(last, source=PartSource(source, raised))
