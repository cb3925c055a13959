"""Text and numbers as a page shows them: everything that is not markup goes through `escaped`."""

import html
import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile

HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Categories of Unicode that steer a display instead of being shown: control characters, marks of writing direction,
halves of surrogates, separators of lines; and characters that no font need have."""
DIGITS = 4  # Of a number on the page: more than a test of some hundred rows determines.
LONGEST_NAME = 60  # Characters of a name inside of a sentence or a table; a longer one is shortened in its middle.
ELLIPSIS = "…"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Picture:
    """A picture of the page.

    Attributes:
        svg: inline, with its description for those who do not see it.
        caption: how to read it, in a sentence or two.
    """

    svg: str
    caption: str


def visible(value: object) -> str:
    """The text with all that would steer a display, such as a line break or a mark of direction, as an escape."""
    return "".join(_escape(c) if unicodedata.category(c) in HIDDEN else c for c in str(value))


def _escape(character: str) -> str:
    code = ord(character)
    if code < 256:
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def escaped(value: object) -> str:
    """The text for HTML, between tags or inside of quotes: shown, never obeyed."""
    return html.escape(visible(value), quote=True)


def shortened(value: object, longest: int = LONGEST_NAME) -> str:
    """The visible text, not yet escaped for HTML, of at most `longest` characters; its middle is left out."""
    pieces = [visible(character) for character in str(value)]
    if sum(map(len, pieces)) <= longest:
        return "".join(pieces)
    tail = (longest - len(ELLIPSIS)) // 3
    end = _beginning(pieces[::-1], tail)
    return "".join([*_beginning(pieces, longest - len(ELLIPSIS) - tail), ELLIPSIS, *end[::-1]])


def _beginning(pieces: list[str], longest: int) -> list[str]:
    """The first pieces, which have at most `longest` characters together; no escape is cut in two."""
    lengths = accumulate(map(len, pieces))
    return pieces[: sum(1 for _ in takewhile(lambda length: length <= longest, lengths))]


def isolated(value: object, longest: int = LONGEST_NAME) -> str:
    """A name inside of a sentence: a name written from right to left does not turn the words around it."""
    return f"<bdi>{escaped(shortened(value, longest))}</bdi>"


def numeral(value: float, digits: int = DIGITS) -> str:
    """A number with four digits, a true minus sign and powers of ten where it is very large or small."""
    if not math.isfinite(value):
        return "not known" if math.isnan(value) else "−∞" if value < 0.0 else "∞"
    if value == 0.0:
        return "0"
    power = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if -4 <= power < 7:
        return f"{value:,.{max(0, digits - 1 - power)}f}".replace("-", "−")
    mantissa = f"{value:.2e}".split("e")[0].replace("-", "−")
    return f"{mantissa} × 10{str(power).translate(SUPERSCRIPTS)}"


def with_error(value: float, spread: float) -> tuple[str, str]:
    """A number and its standard error, which has two digits; both end at the same place."""
    if not (math.isfinite(value) and math.isfinite(spread) and spread > 0.0):
        return numeral(value), f"± {numeral(spread, 2)}"
    last = math.floor(math.log10(float(f"{spread:.1e}"))) - 1
    if not (-6 <= last < 6 and abs(value) < 1e9):
        return numeral(value), f"± {numeral(spread, 2)}"
    shown = [f"{round(number, -last) + 0.0:,.{max(0, -last)}f}" for number in (value, spread)]
    return shown[0].replace("-", "−"), f"± {shown[1]}"


def percent(share: float) -> str:
    """A share as a percentage; one that is neither 0 nor 1 is not rounded to it."""
    if not math.isfinite(share):
        return numeral(share)
    shown = f"{100.0 * share:.1f}"
    if shown in ("0.0", "100.0"):
        shown = shown.removesuffix(".0") if share in (0.0, 1.0) else "< 0.1" if share < 0.5 else "> 99.9"
    return f"{shown} %"


def level_name(level: float) -> str:
    """The level of an interval: "90 %", "99.5 %"."""
    return f"{100.0 * level:.4g} %"


def counted(number: int, one: str, many: str | None = None) -> str:
    """The number with its noun: "1 row", "2,000 rows"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def paragraphs(text: str, css_class: str = "") -> str:
    """Paragraphs of a text from elsewhere, one for each run of lines between empty lines."""
    opening = f'<p class="{css_class}">' if css_class else "<p>"
    pieces = [" ".join(piece.split()) for piece in text.replace("\r\n", "\n").split("\n\n")]
    return "\n".join(f"{opening}{escaped(piece)}</p>" for piece in pieces if piece)


def listed(sentences: Iterable[str]) -> str:
    """Sentences from elsewhere, one below the other."""
    return "<ul>\n" + "\n".join(f"<li>{escaped(sentence)}</li>" for sentence in sentences) + "\n</ul>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers_from: int | None = None) -> str:
    """A table of cells that are markup already; from column `numbers_from` on they are aligned to the right."""

    def cell(tag: str, place: int, content: str) -> str:
        right = ' class="number"' if numbers_from is not None and place >= numbers_from else ""
        return f"<{tag}{right}>{content}</{tag.split()[0]}>"

    top = "".join(cell('th scope="col"', i, name) for i, name in enumerate(head))
    lines = ("".join(cell("td" if i else 'th scope="row"', i, c) for i, c in enumerate(row)) for row in rows)
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'


def figure(picture: Picture) -> str:
    """A picture with the sentence below it."""
    return f"<figure>\n{picture.svg}\n<figcaption>{picture.caption}</figcaption>\n</figure>"
