"""Room in memory for copies of the numbers that D is made of, asked for before each is made."""

from dataclasses import fields, is_dataclass

from torch import Tensor

from geodescent._budget import reserved, too_large

COPIES_OF_D = 2.0  # Times the numbers of D: what fits of networks held, 1.7 to 2.0.
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


def bytes_of(jacobian: object) -> int:
    """The memory of all tensors that D is held by, each counted once."""
    return sum(_storages(jacobian).values())


def _storages(value: object) -> dict[int, int]:
    """Address → bytes of the memory of all tensors that an object consists of."""
    if isinstance(value, Tensor):
        storage = value.untyped_storage()
        return {storage.data_ptr(): storage.nbytes()}
    parts = value if isinstance(value, tuple) else ()
    if is_dataclass(value) and not isinstance(value, type):
        parts = tuple(getattr(value, each.name) for each in fields(value))
    return {place: size for part in parts for place, size in _storages(part).items()}
