"""Room in memory for copies of the numbers that D is made of, asked for before each is made."""

from torch import Tensor

from geodescent._budget import reserved, too_large

WAY_OUT = "Use fewer samples at a time: a DataLoader in the place of X and y gives them in batches."


def require_room(numbers: float, like: Tensor, what: str, instead: str = WAY_OUT) -> None:
    """Raises MemoryPlanError where so many numbers of this dtype do not fit on this device.

    Args:
        what: they are, for the message.
        instead: a way out, for the message.
    """
    n_bytes = numbers * like.element_size()
    if not reserved(n_bytes, like.device):
        raise too_large(n_bytes, like.device, what=f"{what} of {numbers:,.0f} numbers", instead=instead)
