"""A finished fit as text, in the order in which lmfit's users know it."""

import textwrap

from geodescent.curves._statistics import Statistics

SHOWN_FROM = 0.1  # Absolute correlation: smaller ones are not listed.
REPORT_WIDTH = 79  # Columns: one more and a terminal of 80 would break a line.
LARGE = 10.0  # Relative error from which percent hide how large it is: the numbers of both are then enough.


def report_of(statistics: Statistics, start: dict[str, float], status: dict[str, str], message: str) -> str:
    """Fit statistics, parameters with their standard errors, and correlations.

    Args:
        start: name → first value.
        status: name → what else is to be said of the parameter, such as "fixed".
    """
    lines = ["[[Fit Statistics]]", _indented(message)]
    numbers = {
        "data points": str(statistics.n_rows),
        "variables": str(statistics.n_free),
        "chi-square": f"{statistics.chi_square:.8g}",
        "reduced chi-square": f"{statistics.reduced_chi_square:.8g}",
        "Akaike criterion": f"{statistics.aic:.8g}",
        "Bayesian criterion": f"{statistics.bic:.8g}",
        "R-squared": f"{statistics.r_squared:.8g}",
    }
    lines += [f"    {name:<20} = {number}" for name, number in numbers.items() if number != "nan"]
    lines += ["[[Variables]]", *_variables(statistics, start, status)]
    if statistics.unknown:
        lines.append(
            _indented(
                f"The data do not {undetermined(statistics.unknown)}: along one direction the formula does not "
                f"change, and no errors can be given. Fix {'one of them' if len(statistics.unknown) > 1 else 'it'}."
            )
        )
    pairs = _correlations(statistics)
    return "\n".join([*lines, *(["[[Correlations]]", *pairs] if pairs else [])])


def _variables(statistics: Statistics, start: dict[str, float], status: dict[str, str]) -> list[str]:
    width, lines = max(len(name) for name in statistics.names), []
    for name, value, error in zip(statistics.names, statistics.values, statistics.stderr, strict=True):
        told = status.get(name, "")
        if told == "fixed":
            lines.append(f"    {name:<{width}}  {value:.8g} (fixed)")
            continue
        relative = f" ({abs(error / value):.2%})" if error < LARGE * abs(value) else ""
        first = f" (start {start[name]:.6g})" if name in start else ""
        lines.append(f"    {name:<{width}}  {value:.8g} +/- {error:.4g}{relative}{first}{f' ({told})' if told else ''}")
    return lines


def _indented(text: str) -> str:
    return textwrap.fill(text, REPORT_WIDTH, initial_indent="    ", subsequent_indent="    ")


def undetermined(names: tuple[str, ...]) -> str:
    """What the data do not do: "determine a", "tell a, b and c apart"."""
    return f"tell {', '.join(names[:-1])} and {names[-1]} apart" if len(names) > 1 else f"determine {names[0]}"


def _correlations(statistics: Statistics) -> list[str]:
    names, matrix = statistics.names, statistics.correlation
    pairs = [(i, j) for i in range(len(names)) for j in range(i) if abs(matrix[i, j]) >= SHOWN_FROM]
    pairs.sort(key=lambda pair: -abs(matrix[pair]))
    return [f"    C({names[j]}, {names[i]}) = {matrix[i, j]:+.4f}" for i, j in pairs]
