"""The D that a user's function returned, in one form."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from geodescent._errors import InputError
from geodescent._types import Theta
from geodescent.jacobian import Jacobian, MatrixJacobian
from geodescent.outputs._parameters import Parameter


def as_jacobian(returned: object, shape: tuple[int, int], places: list[Parameter], theta: Theta) -> Jacobian:
    """The D that a user's function returned: a tensor or an array, a dict of them by name, or a Jacobian.

    Args:
        shape: (m, K).
        places: the named parameters; none where θ is a flat tensor.
    """
    if isinstance(returned, Mapping):
        returned = _joined(returned, shape, places, theta)
    if not isinstance(returned, Jacobian):
        dense = _as_tensor(returned, theta, "jacobian returned")
        if tuple(dense.shape) != shape:
            raise InputError(f"jacobian returned shape {tuple(dense.shape)}: (m, K) = {shape} is needed.")
        return MatrixJacobian(dense)
    if tuple(returned.shape) != shape:
        raise InputError(f"jacobian returned a Jacobian of shape {tuple(returned.shape)}: (m, K) = {shape} is needed.")
    if returned.dtype != theta.dtype or returned.device != theta.device:
        raise InputError(
            f"jacobian returned a Jacobian of {returned.dtype} on {returned.device}, and θ is {theta.dtype} on "
            f"{theta.device}: pass gd.MatrixJacobian dtype={theta.dtype} and device={str(theta.device)!r}."
        )
    return returned


def _joined(returned: Mapping[str, object], shape: tuple[int, int], places: list[Parameter], theta: Theta) -> Tensor:
    """D from its columns by name."""
    if not places:
        raise InputError(f"jacobian returned a dict and θ is a flat tensor: return D, (m, K) = {shape}.")
    missing = [p.name for p in places if p.name not in returned]
    if missing:
        raise InputError(f"jacobian returned a dict without {', '.join(missing)}: one entry a parameter.")
    columns = list[Tensor]()
    for p in places:
        part = _as_tensor(returned[p.name], theta, f"the entry {p.name!r} of what jacobian returned is")
        if part.numel() != shape[0] * math.prod(p.shape):
            raise InputError(
                f"jacobian returned shape {tuple(part.shape)} for {p.name!r}: (m, *shape) = {(shape[0], *p.shape)} is "
                "needed."
            )
        columns.append(part.reshape(shape[0], -1))
    return torch.cat(columns, 1)


def _as_tensor(returned: object, theta: Theta, what: str) -> Tensor:
    try:
        return torch.as_tensor(returned, device=theta.device).detach().to(theta)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{what} {type(returned).__name__}, which is no tensor: return D as a tensor (m, K), a dict of tensors by "
            f"name, or a gd.Jacobian. Torch says: {error}"
        ) from error
