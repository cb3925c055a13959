"""JSON that is strict: no NaN, no Infinity; and what is read of it, which may be anything."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from geodescent._errors import InputError


def strict_json(value: object, *, indent: int | None = None) -> str:
    """JSON without NaN and Infinity, null in their place; characters that a terminal would obey are escaped."""
    text = json.dumps(_plain(value), allow_nan=False, ensure_ascii=False, indent=indent)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def encoded(value: object) -> bytes:
    """The content of a JSON file."""
    return (strict_json(value, indent=1) + "\n").encode()


def _plain(value: object) -> object:
    match value:
        case dict():
            return {str(key): _plain(entry) for key, entry in value.items()}
        case list() | tuple():
            return [_plain(entry) for entry in value]
        case np.ndarray() | np.generic() | torch.Tensor():
            return _plain(value.tolist())
        case float():
            return value if math.isfinite(value) else None
        case _:
            return value


@contextmanager
def as_written(file: Path) -> Iterator[None]:
    """Makes an InputError of whatever goes wrong when the contents of a file are used as those of a run."""
    try:
        yield
    except InputError:
        raise
    except (
        AttributeError,
        IndexError,
        KeyError,
        OverflowError,
        RecursionError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise InputError(
            f"{file} is of another version, or was changed ({type(error).__name__}: {error}). Run the fit again."
        ) from error
