"""Columns of text that hold numbers become numbers: decimal points or commas, with or without thousands separators."""

import re
from dataclasses import dataclass

import polars as pl

from geodescent.app.tables._series import as_reals, as_wholes
from geodescent.app.tables._shown import counted, listed, quoted

MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "?", "#N/A")
"""Entries that stand for a missing one in every column."""

MISSING_NUMBERS = (*MISSING, "na", "None", "none", "NONE", "-", "--", ".")
"""The same among numbers; in a column of text these may be levels."""

EXPONENT = r"(?:[eE][+-]?[0-9]+)?"
WITH_POINTS = rf"^[+-]?(?:[0-9]{{1,3}}(?:,[0-9]{{3}})+(?:\.[0-9]*)?|[0-9]+\.?[0-9]*|\.[0-9]+){EXPONENT}$"
WITH_COMMAS = rf"^[+-]?(?:[0-9]{{1,3}}(?:\.[0-9]{{3}})+(?:,[0-9]*)?|[0-9]+,?[0-9]*|,[0-9]+){EXPONENT}$"
INFINITE = r"^[+-]?(?i:inf|infinity|∞)$"
"""Forms of a number: with a decimal point and perhaps commas between thousands, the other way round, or infinite."""

SIGNS = ("%", "€", "$", "£", "¥", "₹")
"""Per cent and currencies, before or behind the numbers of a column; `12 %` is read as 12."""

GROUPED = r"^([+-]?[1-9][0-9]{0,2})(?:[ \u00a0\u2009\u202f'’][0-9]{3})+(?:[.,][0-9]*)?$"
UNGROUPED = r"^[+-]?(?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)$"
"""Numbers with blanks (of four widths) or apostrophes between thousands, and numbers with nothing between them."""

CODE = r"^0[0-9]+$"
"""Digits after a leading zero are a code, such as a postcode: as a number it would lose the zero."""

MOSTLY = 0.95  # Share of a column's entries that must be numbers, or dates, for the others to be typing errors.
FEW_ENTRIES = 20  # Entries: in shorter columns every one must be one, as a twentieth of them is none.


def typed(frame: pl.DataFrame, *, delimiter: str = "") -> tuple[pl.DataFrame, bool, tuple[str, ...]]:
    """The frame with numbers in the columns of text that hold numbers.

    `1.234` and `1,234` alone are ambiguous. The other columns of the table decide; where they are silent, a point is a
    decimal point, and a comma is a decimal comma unless commas stand between columns.

    Args:
        frame: all columns; those that are not text stay as they are.
        delimiter: between the columns of the file.

    Returns:
        The frame, whether decimal commas were found, and sentences on entries that are missing.
    """
    texts = [_text_column(frame[name]) for name in frame.columns if frame[name].dtype == pl.String]
    votes = sum(column.only_commas - column.only_points for column in texts)
    commas = votes > 0
    said, numbers, found = list[str](), list[pl.Series](), False
    for column in texts:
        by_comma = column.by_comma(commas=commas, points=votes < 0, delimiter=delimiter)
        found |= by_comma and column.is_number and column.has_comma
        series, sentence = column.numbers(by_comma) if column.is_number else (column.text, "")
        numbers.append(series)
        said += [sentence] if sentence else []
    marked = [column.text.name for column in texts if column.marked]
    if marked:
        n = sum(column.marked for column in texts)
        entries = counted(n, "entry", "entries")
        were, names = "was" if n == 1 else "were", listed([quoted(name) for name in marked])
        said.append(f"{entries} such as NA or ? {were} read as missing, in {names}.")
    grouped = [quoted(column.text.name) for column in texts if column.grouped]
    if grouped:
        said.append(f"Blanks or apostrophes inside of numbers were taken for marks of thousands, in {listed(grouped)}.")
    signed = [f"{quoted(column.text.name)} ({column.sign})" for column in texts if column.sign and column.is_number]
    if signed:
        said.append(f"Numbers were read without the sign beside them, in {listed(signed)}.")
    return frame.with_columns(numbers), found, tuple(said)


def mostly(n: int, all_of: int) -> bool:
    """Whether n entries of a column are all of them, or nearly all of many: then the others are typing errors."""
    return n == all_of if all_of < FEW_ENTRIES else n >= MOSTLY * all_of


@dataclass(frozen=True)
class TextColumn:
    """A column of text, and how many of its entries are numbers by either reading.

    Attributes:
        text: without blanks at the ends, null where an entry is missing.
        given: the same, null too where an entry would stand for a missing number, and without the sign.
        n_points, n_commas: numbers with decimal points, and with decimal commas.
        has_comma: whether a comma occurs.
        marked: entries that say that they are missing, such as NA.
        sign: of `SIGNS`, beside all entries or nearly all of many; the empty text where there is none.
        grouped: whether blanks or apostrophes stood between thousands; `given` is without them.
    """

    text: pl.Series
    given: pl.Series
    n_points: int
    n_commas: int
    has_comma: bool
    marked: int
    sign: str
    grouped: bool

    @property
    def is_number(self) -> bool:
        """Whether all entries, or nearly all of many, are numbers, and none is a code such as 0815."""
        n, numbers = self.given.count(), max(self.n_points, self.n_commas)
        return n > 0 and mostly(numbers, n) and not self.given.str.contains(CODE).any()

    @property
    def only_commas(self) -> bool:
        """Whether it tells that commas are decimal."""
        return self.is_number and (self.has_comma if self.grouped else self.n_commas > self.n_points)

    @property
    def only_points(self) -> bool:
        """Whether it tells that points are decimal."""
        return self.is_number and not self.only_commas and self.n_points > self.n_commas

    def by_comma(self, *, commas: bool, points: bool, delimiter: str) -> bool:
        """Whether its commas are decimal, given what the table tells."""
        if self.grouped:  # then no comma stands between thousands
            return self.has_comma
        if self.n_points != self.n_commas:
            return self.n_commas > self.n_points
        return commas or (not points and self.has_comma and delimiter != ",")

    def numbers(self, by_comma: bool) -> tuple[pl.Series, str]:
        """The column as whole numbers or real ones, and a sentence on entries that are none."""
        plain = self.given.str.replace_all("∞", "inf", literal=True)
        thousands = "." if by_comma else ","
        plain = plain.str.replace_all(thousands, "", literal=True).str.replace(",", ".", literal=True)
        real, whole = as_reals(plain), as_wholes(plain)
        numbers = whole if whole.count() == real.count() else real
        wrong = self.given.filter(real.is_null() & self.given.is_not_null())
        if not len(wrong):
            return numbers, ""
        entries = counted(len(wrong), "entry is no number and was", "entries are no numbers and were")
        return numbers, f"Column {quoted(self.text.name)}: {entries} read as missing, such as {quoted(wrong[0])}."


def _text_column(column: pl.Series) -> TextColumn:
    stripped = column.str.strip_chars()
    text = stripped.set(stripped.is_in(MISSING), None)
    given, sign = _without_sign(text.set(text.is_in(MISSING_NUMBERS), None))
    given, grouped = _without_groups(given)
    infinite = given.str.contains(INFINITE)
    points, commas = (int((given.str.contains(form) | infinite).sum()) for form in (WITH_POINTS, WITH_COMMAS))
    marked = int(((stripped != "") & (stripped.is_in(MISSING))).sum())
    if max(points, commas) == given.count():
        marked = int(((stripped != "") & stripped.is_in(MISSING_NUMBERS)).sum())
    has_comma = bool(given.str.contains(",", literal=True).any())
    return TextColumn(text, given, points, commas, has_comma, marked, sign, grouped)


def _without_sign(given: pl.Series) -> tuple[pl.Series, str]:
    """The entries without the sign that all of them have, or nearly all of many, and that sign."""
    for sign in SIGNS:
        written = re.escape(sign)
        beside = rf"^[+-]?\s*{written}|{written}$"
        if given.count() and mostly(int(given.str.contains(beside).sum()), given.count()):
            bare = given.str.replace(rf"^([+-]?)\s*{written}\s*([+-]?)", "$1$2").str.replace(rf"\s*{written}$", "")
            return bare, sign
    return given, ""


def _without_groups(given: pl.Series) -> tuple[pl.Series, bool]:
    """The entries without the blanks or apostrophes between thousands, where all of them are such numbers, or bare."""
    grouped, bare = given.str.contains(GROUPED), given.str.contains(UNGROUPED)
    if not grouped.any() or not (grouped | bare).all():
        return given, False
    points, commas = (given.str.contains(sign, literal=True).any() for sign in (".", ","))
    if points and commas:  # one of them would have to stand between thousands, too
        return given, False
    return given.str.replace_all(r"[^0-9+\-.,]", ""), True
