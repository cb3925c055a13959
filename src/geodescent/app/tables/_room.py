"""The memory that a table takes is asked for before it is read."""

import torch

from geodescent._budget import fits, too_large
from geodescent._errors import InputError
from geodescent._memory import plan

HOST = torch.device("cpu")
"""Tables are read and encoded on the host."""


def room_for(n_bytes: float, what: str) -> None:
    """Enters `n_bytes` into the plan of the run.

    Args:
        n_bytes: that are needed.
        what: needs them, as the subject of a sentence.

    Raises:
        InputError: so much memory is not free.
    """
    if not fits(n_bytes, HOST):
        raise InputError(str(too_large(n_bytes, HOST, what=what, instead="Give fewer rows or fewer columns.")))
    plan(n_bytes, HOST)
