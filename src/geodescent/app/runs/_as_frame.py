"""Tables of Python, of any kind, as frames with the columns that a run asks for."""

import os
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from geodescent._errors import InputError
from geodescent.app.tables import read_table


@runtime_checkable
class FrameOfColumns(Protocol):
    """A frame of pandas, or whatever has named columns."""

    @property
    def columns(self) -> Sequence[str]:
        """Their names."""
        ...

    def __getitem__(self, name: str) -> ArrayLike:
        """A column."""
        ...


AnyTable = pl.DataFrame | FrameOfColumns | Mapping[str, ArrayLike] | ArrayLike | str | os.PathLike[str]
"""A frame, a mapping of columns, an array of the columns in their order, or the path of a file."""


def as_frame(table: AnyTable, columns: Sequence[str]) -> pl.DataFrame:
    """The table as a frame.

    Args:
        table: of any kind.
        columns: names of the columns of an array, in their order.

    Raises: InputError for an array of another width, or columns of different lengths.
    """
    if isinstance(table, pl.DataFrame):
        return table
    if isinstance(table, str | os.PathLike):
        return read_table(os.fspath(table)).frame
    if isinstance(table, Mapping):
        return _of_columns(table)
    if isinstance(table, FrameOfColumns):
        return _of_columns({str(name): table[name] for name in table.columns})
    values = np.asarray(table)
    if values.ndim != 2 or values.shape[1] != len(columns):
        raise InputError(
            f"an array of {len(columns)} columns is needed, (n, {len(columns)}), as in run.columns: got shape "
            f"{values.shape}. A frame with names may hold them in any order."
        )
    return _of_columns(dict(zip(columns, values.T, strict=True)))


def _of_columns(columns: Mapping[str, ArrayLike]) -> pl.DataFrame:
    try:
        return pl.DataFrame({str(name): np.asarray(values).tolist() for name, values in columns.items()}, strict=False)
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise InputError(f"the columns make no table ({error}): each needs one entry for every row.") from error
