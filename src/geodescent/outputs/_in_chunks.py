"""One function of many vectors by vmap, in chunks: as many at once as memory allows, or as a deadline does."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import vmap

from geodescent._deadline import Allowance, is_affordable

SHARE_OF_TIME = 0.2  # Share of the time that is left to a deadline which all vectors together may take.
GROWTH = 4  # Factor on the vectors of a chunk, as long as it is not known that all of them fit into the time.


def in_chunks(one: Callable[[Tensor], Tensor], units: Tensor, most: int, *, out_dim: int = 0) -> Tensor | None:
    """`one(unit)` of every row of `units`, stacked; None where that takes too large a share of the time that is left.

    Where a deadline might come first, the first chunk is one vector, and each next one is `GROWTH` times as large: what
    takes as long for many vectors as for one is soon over, and what does not is given up before it takes long.

    Args:
        most: vectors at once, for memory.
        out_dim: the axis along which results are stacked.
    """
    if is_affordable(forward_passes=len(units), share=SHARE_OF_TIME):
        whole: Tensor = vmap(one, out_dims=out_dim, chunk_size=most)(units)
        return whole
    allowed, parts, start, size = Allowance(SHARE_OF_TIME), list[Tensor](), 0, 1
    while start < len(units):
        if allowed.is_spent:
            return None
        parts.append(vmap(one, out_dims=out_dim)(units[start : start + size]))
        start, size = start + size, min(most, GROWTH * size)
    return torch.cat(parts, out_dim)
