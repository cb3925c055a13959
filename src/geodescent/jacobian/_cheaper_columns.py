"""Recorded calls by what takes less: one random sum of the outputs for statistics, products or columns for solves."""

from geodescent.jacobian._block import Block
from geodescent.jacobian._block_jacobian import BlockJacobian
from geodescent.jacobian._jacobian import Jacobian
from geodescent.jacobian._recorded_block import RecordedBlock


def is_recorded(jacobian: Jacobian) -> bool:
    """Whether rows belong to recorded calls, whether their columns are known by now or not."""
    return any(isinstance(block, RecordedBlock) for block in jacobian.blocks)


def goes_by_passes(jacobian: Jacobian) -> bool:
    """Whether products are passes through the graphs of recorded calls, whose columns would take a pass an output."""
    return any(isinstance(block, RecordedBlock) and not block.is_made for block in jacobian.blocks)


def random_sums(jacobian: Jacobian) -> BlockJacobian | None:
    """`BlockJacobian.sketched` where the columns of all outputs, of a recorded call, would take a pass each; else None.

    The squares of its rows and columns, and the second moments of its layers, are those of D in the mean.
    """
    if not isinstance(jacobian, BlockJacobian) or not goes_by_passes(jacobian):
        return None
    return jacobian.sketched(0)


def expecting(jacobian: Jacobian, products: float) -> Jacobian:
    """The same for so many products: with the columns of recorded calls, where that takes less."""
    if not isinstance(jacobian, BlockJacobian) or all(isinstance(block, Block) for block in jacobian.blocks):
        return jacobian
    blocks = tuple(block.expecting(products) for block in jacobian.blocks)
    return BlockJacobian(blocks, jacobian.n_params, jacobian.dtype, jacobian.device)
