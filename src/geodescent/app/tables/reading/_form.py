"""What a file was read as: its columns, what it says of itself, and how its text was written."""

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class TextForm:
    """How a table is written as text.

    Attributes:
        delimiter: between columns.
        decimal_comma: whether numbers have a comma in the place of the point.
        marked: whether the text begins with a mark of its encoding, by which spreadsheets know it.
    """

    delimiter: str = ","
    decimal_comma: bool = False
    marked: bool = False


@dataclass(frozen=True)
class FileRead:
    """The content of a file.

    Attributes:
        frame: its columns.
        target: that the file itself names; the empty text where it says that it has none, None where it says nothing.
        said: sentences on how it was understood.
        form: of text; None for other files.
    """

    frame: pl.DataFrame
    target: str | None
    said: tuple[str, ...]
    form: TextForm | None = None
