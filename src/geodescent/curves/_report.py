"""A finished fit as text, in the order in which lmfit's users know it."""

import math

from geodescent.curves._statistics import Statistics

SHOWN_FROM = 0.1  # Absolute correlation: smaller ones are not listed.


def report_of(statistics: Statistics, start: dict[str, float], status: dict[str, str], message: str) -> str:
    """Fit statistics, parameters with their standard errors, and correlations.

    Args:
        start: name → first value.
        status: name → what else is to be said of the parameter, such as "fixed".
    """
    lines = ["[[Fit Statistics]]", f"    {message}"]
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
            f"    The data do not tell {' and '.join(statistics.unknown)} apart: along one direction of them the "
            "formula does not change, and no errors can be given. Fix one of them."
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
        relative = f" ({abs(error / value):.2%})" if value != 0.0 and math.isfinite(error) else ""
        first = f" (start {start[name]:.6g})" if name in start else ""
        lines.append(f"    {name:<{width}}  {value:.8g} +/- {error:.4g}{relative}{first}{f' ({told})' if told else ''}")
    return lines


def _correlations(statistics: Statistics) -> list[str]:
    names, matrix = statistics.names, statistics.correlation
    pairs = [(i, j) for i in range(len(names)) for j in range(i) if abs(matrix[i, j]) >= SHOWN_FROM]
    pairs.sort(key=lambda pair: -abs(matrix[pair]))
    return [f"    C({names[j]}, {names[i]}) = {matrix[i, j]:+.4f}" for i, j in pairs]
