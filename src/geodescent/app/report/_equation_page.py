"""report.html of a differential equation: the picture, how far off it is, its terms, and the file that it came from."""

import base64
from dataclasses import dataclass

from geodescent.app.report._document import document
from geodescent.app.report._markup import escaped


@dataclass(frozen=True)
class EquationFacts:
    """What the page tells.

    Attributes:
        title: a sentence.
        rows: a name and a text each.
        table: residuals of the terms, as text.
        picture: the content of a PNG file.
        source: the file of the equation.
    """

    title: str
    rows: list[tuple[str, str]]
    table: str
    picture: bytes
    source: str


def equation_page(facts: EquationFacts) -> str:
    """The whole page as HTML; every text is shown as it is, none is obeyed."""
    rows = "\n".join(f"<p><strong>{escaped(name)}</strong>: {escaped(text)}</p>" for name, text in facts.rows)
    image = base64.b64encode(facts.picture).decode()
    body = f"""<header>
<p class="eyebrow">A differential equation solved by geodescent</p>
<h1>{escaped(facts.title)}</h1>
{rows}
</header>
<section>
<h2>Solution</h2>
<figure><img src="data:image/png;base64,{image}" style="max-width: 100%" alt="{escaped(facts.title)}">
<figcaption>Fields, their errors and the residual, and below the RMS of each term over the steps. In
numbers: solution.csv, beside this page.</figcaption></figure>
</section>
<section>
<h2>Terms</h2>
{_lines(facts.table)}
</section>
<section>
<h2>The equation as it was written</h2>
{_lines(facts.source)}
</section>"""
    return document(facts.title, body)


def _lines(text: str) -> str:
    shown = "\n".join(escaped(line) for line in text.split("\n"))
    return f'<pre style="overflow-x: auto; font-size: .8rem; overflow-wrap: normal">{shown}</pre>'
