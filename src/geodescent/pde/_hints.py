"""What helps where a function of the user fails, in a sentence; and whether its traceback tells the user anything."""

import os
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch

from geodescent.pde._spelling import as_attribute, way_to_write

AS_TENSORS = (
    "These are values at all points: write torch.sin(x) in place of math.sin(x), and leave float() and item() out."
)
NOT_BY_NUMPY = "Compute by torch in place of numpy: write torch.sin(x) in place of np.sin(x)."
OF_TENSORS = (
    ("converted to Scalar", AS_TENSORS),
    ("converted to Python scalars", AS_TENSORS),
    ("real number, not", AS_TENSORS),
    ("numpy", NOT_BY_NUMPY),
    ("ufunc", NOT_BY_NUMPY),
    ("Boolean value of Tensor", "For cases by point use torch.where(condition, a, b) in place of if."),
    ("odified", "Write u + 1.0 in place of u.add_(1.0)."),
)
"""What an error of a function of tensors says, and what helps."""
OF_EQUATIONS = (
    (
        "Tensor' object has no",
        "Derivatives are attributes of fields, not of expressions: 2*u*u.x in place of (u*u).x, and u.x.laplacian in "
        "place of u.laplacian.x.",
    ),
    ("does not require grad", "Derivatives are attributes of fields: u.x, u.xx, in place of torch.autograd.grad."),
    ("must match the size", "An equation is called at any number of points: compute all of it from coordinates."),
    *OF_TENSORS,
)
"""The same of an equation."""
NOT_THE_USERS = tuple(f"{folder}{os.sep}" for folder in (Path(torch.__file__).parent, Path(__file__).parents[1]))
"""Folders whose files are not the user's."""


def first_sentence(error: Exception) -> str:
    """Of what an error says, without its full stop."""
    return (str(error).splitlines() or [""])[0].split(". ")[0].rstrip(".")


def hint_for(error: Exception, hints: Sequence[tuple[str, str]] = OF_EQUATIONS) -> str:
    """What helps against an error of torch, with a space before it; empty where that is not known."""
    return next((f" {hint}" for part, hint in hints if part in str(error)), "")


def hint_for_name(
    error: Exception, what: str, known: Sequence[str], fields: Sequence[str], coordinates: tuple[str, ...]
) -> str:
    """What helps where a function reads a name that is not defined; empty where that is not known.

    Args:
        error: that the function raised.
        what: the function, in words.
        known: the names that may stand among its arguments.
        fields: that have derivatives there.
        coordinates: that the derivatives are by.
    """
    name = error.name if isinstance(error, NameError) else None
    if not name:
        return ""
    if name in known:
        return f" Add {name} to the arguments of {what}."
    attribute = as_attribute(name, fields, coordinates)
    return f" {way_to_write(attribute, coordinates)}" if attribute else ""


def own_cause(error: Exception) -> Exception | None:
    """The error where its traceback leads through a file of the user; None where it tells nothing but of ours."""
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    return None if all(file.startswith(NOT_THE_USERS) for file in files) else error
