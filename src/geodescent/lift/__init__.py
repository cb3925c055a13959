"""Lifts: D⁺ is applied here, from a velocity of the outputs to the least-norm velocity of the parameters.

A lift is prepared at one point, factorised for an absolute damping μ, and solved for any velocity. `PlannedLift` picks
among the Gram matrix, the normal matrix and products alone; all of them compute the same velocity.
"""

from geodescent.lift._cheaper_lift import CheaperLift
from geodescent.lift._described import Described, lift_used
from geodescent.lift._gradient_lift import GradientLift
from geodescent.lift._gram_lift import GramLift
from geodescent.lift._homotopy_lift import HomotopyLift
from geodescent.lift._krylov_lift import KrylovLift
from geodescent.lift._layer_factors import LayerFactor, LayerFactors, factors_flops
from geodescent.lift._normal_lift import NormalLift
from geodescent.lift._output_blocks import BLOCKS_BYTES, OutputBlocks, RowBlocks
from geodescent.lift._paced_lift import PacedLift
from geodescent.lift._planned_lift import INEXACT, DenseLift, PlannedLift, known_by_products
from geodescent.lift._product_lift import DENSE_MATRICES, PRODUCT_DAMPING, solving_flops
from geodescent.lift._protocols import FULL, ROUGH, Damped, Lift, Lifted, MetricJacobian, Prepared, SolveGoal
from geodescent.lift._refined_factor import LEAST_FACTOR, RefinedFactor
from geodescent.lift._sketched_factors import SketchedFactors
from geodescent.lift._sketched_lift import SketchedLift
from geodescent.lift._two_factors import TwoFactors

__all__ = [
    "BLOCKS_BYTES",
    "DENSE_MATRICES",
    "FULL",
    "INEXACT",
    "LEAST_FACTOR",
    "PRODUCT_DAMPING",
    "ROUGH",
    "CheaperLift",
    "Damped",
    "DenseLift",
    "Described",
    "GradientLift",
    "GramLift",
    "HomotopyLift",
    "KrylovLift",
    "LayerFactor",
    "LayerFactors",
    "Lift",
    "Lifted",
    "MetricJacobian",
    "NormalLift",
    "OutputBlocks",
    "PacedLift",
    "PlannedLift",
    "Prepared",
    "RefinedFactor",
    "RowBlocks",
    "SketchedFactors",
    "SketchedLift",
    "SolveGoal",
    "TwoFactors",
    "factors_flops",
    "known_by_products",
    "lift_used",
    "solving_flops",
]
