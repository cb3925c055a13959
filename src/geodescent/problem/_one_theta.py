"""Whether two output maps are of the same parameters, in one order."""

from itertools import zip_longest

from geodescent._errors import InputError
from geodescent.outputs import OutputMap, Parametrised


def require_one_theta(first: OutputMap, other: OutputMap, *, first_name: str, other_name: str) -> None:
    """Raises InputError unless both maps are of the same parameters, in the same precision, on one device.

    Args:
        first_name, other_name: how the error names them, for example "block 'data'".
    """
    k, other_k = len(first.theta), len(other.theta)
    if k != other_k:
        raise InputError(f"{other_name} has {other_k} parameters and {first_name} has {k}: both must share θ.")
    kind, other_kind = (first.dtype, first.device), (other.dtype, other.device)
    if kind != other_kind:
        raise InputError(
            f"{other_name} computes in {other_kind[0]} on {other_kind[1]} and {first_name} in {kind[0]} on {kind[1]}: "
            "both need one dtype and one device."
        )
    places, other_places = _places(first), _places(other)
    if places and other_places and places != other_places:
        pairs = zip_longest(places, other_places, fillvalue="nothing")
        place, (ours, theirs) = next((i, pair) for i, pair in enumerate(pairs, 1) if pair[0] != pair[1])
        raise InputError(
            f"{other_name} has {theirs} where {first_name} has {ours} (parameter {place}): both need the same "
            "parameters in one order."
        )


def _places(outputs: OutputMap) -> list[str]:
    """Name and shape of each named tensor of θ, in its order."""
    if not isinstance(outputs, Parametrised):
        return []
    return [f"{name} {tuple(tensor.shape)}" for name, tensor in outputs.parameters().items()]
