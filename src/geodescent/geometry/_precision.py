"""The precision that geometry needs."""

import torch

from geodescent._errors import InputError


def require_double(dtype: torch.dtype, what: str) -> None:
    """Raises InputError where the model does not compute in float64: differences that matter are below float32's."""
    if dtype != torch.float64:
        raise InputError(
            f"{what} needs float64, the model computes in {str(dtype).removeprefix('torch.')}: call model.double() and "
            "X.double()."
        )
