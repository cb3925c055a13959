"""Parquet files: what they unpack to is asked for before it is read, and nothing but plain columns is read."""

from pathlib import Path

import polars as pl
from polars.exceptions import PanicException, PolarsError

from geodescent._errors import InputError
from geodescent.app.tables._room import room_for
from geodescent.app.tables._shown import counted, listed, quoted, shown
from geodescent.app.tables.reading._headers import column_names

ENTRY_BYTES = 24.0  # For an entry: 8 of a number or 16 of a text's place, and 8 as it is converted.


def frame_of_parquet(path: Path) -> tuple[pl.DataFrame, None, tuple[str, ...]]:
    """The plain columns of a .parquet file.

    Raises:
        InputError: no parquet file, a damaged one, or one that unpacks to more than the memory holds.
    """
    name = shown(path.name)
    try:
        lazy = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        schema = lazy.collect_schema()
        nested = [column for column, kind in schema.items() if kind.is_nested() or kind in (pl.Binary, pl.Object)]
        kept = [column for column in schema.names() if column not in set(nested)]
        column_names(kept, name)
        n_rows = int(lazy.select(pl.len()).collect().item())
        room_for(ENTRY_BYTES * n_rows * len(kept), name)
        frame = lazy.select(kept).collect()
    except (PolarsError, PanicException) as error:
        raise InputError(
            f"{name} cannot be read as parquet ({shown(str(error), 120)}): it is damaged or of another kind. Write the "
            "file again."
        ) from error
    size = f"{counted(frame.height, 'row')} of {counted(frame.width, 'column')}"
    left = (f"Left out, as their entries are no single values: {listed([quoted(c) for c in nested])}.",)
    return frame, None, (f"{name} was read as parquet: {size}.", *(left if nested else ()))
