"""A table with predictions written to a file: text as the table that was read was written."""

from pathlib import Path

import polars as pl

from geodescent.app.tables import RawTable, TextForm, as_texts

PLAIN_FORMS: dict[str, TextForm] = {".csv": TextForm(), ".tsv": TextForm("\t")}
"""How text of a suffix is written, where the table that was read is of another kind."""
PARQUET_SUFFIX = ".parquet"
WRITTEN_KINDS = (*PLAIN_FORMS, PARQUET_SUFFIX)
"""Suffixes of what is written."""


def write_table(frame: pl.DataFrame, raw: RawTable, suffix: str, path: Path) -> None:
    """Writes a file of the kind that the suffix says.

    Text of the same kind as the table that was read has its delimiter, its decimal sign and its mark.

    Args:
        raw: that was read.
        suffix: of `WRITTEN_KINDS`.
        path: of the file, whatever its own suffix.

    Raises: OSError, PolarsError.
    """
    if suffix == PARQUET_SUFFIX:
        frame.write_parquet(path)
        return
    form = raw.form if raw.form is not None and Path(raw.name).suffix.lower() == suffix else PLAIN_FORMS[suffix]
    shown = _with_commas(frame) if form.decimal_comma else frame
    shown.write_csv(path, separator=form.delimiter, include_bom=form.marked)


def _with_commas(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with its real numbers as text with decimal commas."""
    reals = [column for column in frame.iter_columns() if column.dtype.is_float()]
    return frame.with_columns([as_texts(column).str.replace(".", ",", literal=True) for column in reals])
