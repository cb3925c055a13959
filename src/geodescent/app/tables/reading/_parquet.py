"""Parquet files: what they unpack to is asked for before it is read, and nothing but plain columns is read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
from polars.exceptions import PanicException, PolarsError

from geodescent._errors import InputError
from geodescent.app.tables._room import room_for
from geodescent.app.tables._shown import counted, listed, quoted, shown
from geodescent.app.tables.reading._form import FileRead
from geodescent.app.tables.reading._headers import column_names

STANDARD_ERROR = 2  # Its descriptor, on every system.
ENTRY_BYTES = 24.0  # For an entry: 8 of a number or 16 of a text's place, and 8 as it is converted.


def frame_of_parquet(path: Path) -> FileRead:
    """The plain columns of a .parquet file.

    Raises:
        InputError: no parquet file, a damaged one, or one that unpacks to more than the memory holds.
    """
    name = shown(path.name)
    try:
        with _silent_panics():
            frame, nested = _plain_columns(path, name)
    except (PolarsError, PanicException) as error:
        reason = "" if isinstance(error, PanicException) else f" ({shown(str(error), 120)})"
        raise InputError(
            f"{name} cannot be read as parquet{reason}: it is damaged or of another kind. Write the file again."
        ) from error
    size = f"{counted(frame.height, 'row')} of {counted(frame.width, 'column')}"
    left = (f"Left out, as their entries are no single values: {listed([quoted(c) for c in nested])}.",)
    return FileRead(frame, None, (f"{name} was read as parquet: {size}.", *(left if nested else ())))


def _plain_columns(path: Path, name: str) -> tuple[pl.DataFrame, list[str]]:
    """The columns of single values, and the names of the others."""
    lazy = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    schema = lazy.collect_schema()
    nested = [column for column, kind in schema.items() if kind.is_nested() or kind in (pl.Binary, pl.Object)]
    kept = [column for column in schema.names() if column not in set(nested)]
    column_names(kept, name)
    n_rows = int(lazy.select(pl.len()).collect().item())
    room_for(ENTRY_BYTES * n_rows * len(kept), name)
    return lazy.select(kept).collect(), nested


@contextmanager
def _silent_panics() -> Iterator[None]:
    """Nothing is written to standard error inside the block.

    Where a file is damaged in certain places polars panics, and Rust prints a backtrace by the descriptor before Python
    hears of it: the exception tells as much.
    """
    try:
        before = os.dup(STANDARD_ERROR)
    except OSError:  # it is closed, so that nothing can be printed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, STANDARD_ERROR)
        yield
    finally:
        os.dup2(before, STANDARD_ERROR)
        os.close(nowhere)
        os.close(before)
