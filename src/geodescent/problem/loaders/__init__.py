"""Sources over a DataLoader: one batch a step, batches that grow, or all batches as one problem.

Its batches are read anew in each pass. Where rows must keep their places they are read in one order.
"""

from geodescent.problem.loaders._batch_source import BatchSource
from geodescent.problem.loaders._growing import GrowingSource
from geodescent.problem.loaders._in_order import Loader
from geodescent.problem.loaders._streamed import StreamedMap, StreamedSource

__all__ = ["BatchSource", "GrowingSource", "Loader", "StreamedMap", "StreamedSource"]
