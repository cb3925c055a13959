"""Tables in text: the encoding, the delimiter and the decimal sign are found out, and every line is counted."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from geodescent._errors import InputError
from geodescent.app.tables._room import room_for
from geodescent.app.tables._shown import counted, shown
from geodescent.app.tables.reading._form import FileRead, TextForm
from geodescent.app.tables.reading._headers import column_names
from geodescent.app.tables.reading._numbers import typed

DELIMITERS = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas"}
"""In the order in which they are believed where several fit: a comma may also be a decimal sign."""

MARKED_ENCODINGS = ("UTF-8 with a mark", "UTF-16")  # Encodings, as they are told, of text that begins with a mark.
SAMPLE_LINES = 200  # Lines by which the delimiter is decided.
RECORDS_AT_ONCE = 50_000  # Records that are held as Python strings at once, some 100 bytes an entry.
ENTRY_AS_TEXT = 60.0  # Bytes for an entry beside its characters: its place among strings, then its number.
CONTROLS = 0.01  # Share of control characters above which a file is no text; text has hardly any.


def frame_of_text(path: Path, delimiter: str | None = None) -> FileRead:
    """The table in a .csv or .tsv file: numbers where a column holds numbers, text otherwise.

    Args:
        path: of the file.
        delimiter: between columns; None finds it out.

    Raises:
        InputError: no text, no row, rows of different lengths, or names given twice.
    """
    name = shown(path.name)
    text, encoding = _decoded(path.read_bytes(), name)
    delimiter = delimiter or _delimiter(text)
    room_for(ENTRY_AS_TEXT * (text.count(delimiter) + text.count("\n")), name)
    records = _records(text, delimiter, name)
    header = next(records, None)
    if header is None:
        raise InputError(f"{name} is empty: it needs a line of names and rows of entries.")
    frame, said = _framed(header[1], records, name)
    frame, comma, changes = typed(frame, delimiter=delimiter)
    signs = f"{DELIMITERS[delimiter]} between columns, decimal {'commas' if comma else 'points'}, {encoding}"
    size = f"{counted(frame.height, 'row')} of {counted(frame.width, 'column')}"
    form = TextForm(delimiter, comma, encoding in MARKED_ENCODINGS)
    return FileRead(frame, None, (f"{name} was read as CSV: {signs}; {size}.", *said, *changes), form)


def _decoded(content: bytes, name: str) -> tuple[str, str]:
    """The text, and the name of its encoding: by its mark, UTF-8 where it is that, windows-1252 otherwise."""
    marks = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
    marked = next((codec for mark, codec in marks.items() if content.startswith(mark)), None)
    if marked != "utf-16" and b"\0" in content:
        raise InputError(f"{name} is no text (it holds zero bytes): save the table as CSV in UTF-8.")
    for codec in (marked,) if marked else ("utf-8", "windows-1252"):
        try:
            text = content.decode(codec)
        except UnicodeDecodeError:
            continue
        controls = sum(text.count(chr(i)) for i in (*range(9), *range(14, 27), *range(28, 32), 127))
        if controls <= CONTROLS * len(text):
            return text, codec.upper().replace("WINDOWS", "windows").replace("-SIG", " with a mark")
        break
    raise InputError(f"{name} is no text in UTF-8, UTF-16 or windows-1252: save the table as CSV in UTF-8.")


def _delimiter(text: str) -> str:
    """The first of `DELIMITERS` that cuts all sample lines into as many columns as the header, if any does."""
    lines = list(_first_lines(text))
    fits = {delimiter: _share_that_fits(lines, delimiter) for delimiter in DELIMITERS}
    best = max(fits, key=lambda delimiter: fits[delimiter])  # of several best ones the first
    return best if fits[best] > 0.0 else ","


def _first_lines(text: str) -> Iterator[str]:
    for _, line in zip(range(SAMPLE_LINES), io.StringIO(text, newline=None), strict=False):
        yield line


def _share_that_fits(lines: list[str], delimiter: str) -> float:
    """Share of the records with as many fields as the header; 0 where the header is one field or half do not fit."""
    try:
        counts = [len(record) for record in csv.reader(lines, delimiter=delimiter, skipinitialspace=True) if record]
    except csv.Error:
        return 0.0
    if not counts or counts[0] < 2:
        return 0.0
    if len(lines) == SAMPLE_LINES and len(counts) > 2:
        counts.pop()  # it may have been cut
    share = sum(count == counts[0] for count in counts) / len(counts)
    named_rows = len(counts) > 2 and set(counts[1:]) == {counts[0] + 1}
    return 1.0 if named_rows else share if share >= 0.5 else 0.0


def _records(text: str, delimiter: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """The line number and the fields of each record; lines with nothing on them are passed over."""
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=delimiter, skipinitialspace=True, strict=True)
    line = 1
    try:
        for record in reader:
            if record:
                yield line, record
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{name} cannot be read from line {line} on: {error}. Check the quotation marks of that line."
        ) from error


def _framed(
    header: list[str], records: Iterator[tuple[int, list[str]]], name: str
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The frame of text, and what is said of its names."""
    first = next(records, None)
    if first is None:
        raise InputError(f"{name} holds names of columns and no row below them: add rows.")
    if len(first[1]) == len(header) + 1:  # as R writes it: the names of the rows have no name themselves
        header = ["", *header]
    names, said = column_names([field.strip() for field in header], name)
    chunks, chunk = list[pl.DataFrame](), [first[1]]
    _require_length(first, len(names), name)
    for record in records:
        _require_length(record, len(names), name)
        chunk.append(record[1])
        if len(chunk) == RECORDS_AT_ONCE:
            chunks.append(_columns(names, chunk))
            chunk = []
    if chunk:
        chunks.append(_columns(names, chunk))
    return pl.concat(chunks), said


def _require_length(record: tuple[int, list[str]], n: int, name: str) -> None:
    line, fields = record
    if len(fields) != n:
        raise InputError(
            f"Line {line} of {name} has {counted(len(fields), 'entry', 'entries')}, and the table has "
            f"{counted(n, 'column')}: give every row the same number, and put text that holds the delimiter in quotes."
        )


def _columns(names: list[str], records: list[list[str]]) -> pl.DataFrame:
    columns = zip(names, zip(*records, strict=True), strict=True)
    return pl.DataFrame([pl.Series(name, list(entries), dtype=pl.String) for name, entries in columns])
