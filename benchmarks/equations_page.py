"""The table and the figure of differential equations in docs/measured.md, from the lines of equations.py.

python benchmarks/equations.py
python benchmarks/equations_page.py
"""

import json
import math
from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from readme import MEASURED, ROOT, put

HERE = Path(__file__).parent
FIGURE = ROOT / "docs" / "equations.png"
OURS, SAME_START, FEATURES = "geodescent", "geodescent, start as it is", "random features"
MOMENTS = (1.0, 5.0, 20.0, 60.0)  # CPU seconds at which the methods are compared.
AHEAD = 2.0  # Times smaller: an error that is worth saying.
Lines = list[dict]


def main() -> None:
    """Writes both."""
    lines = [json.loads(line) for line in (HERE / "equations.jsonl").read_text().splitlines()]
    largest = {case: max(line["budget"] for line in lines if line["case"] == case) for case in names(lines, "case")}
    lines = [line for line in lines if line["budget"] == largest[line["case"]]]
    put(MEASURED, "equations", [*table(lines), "", *table_of_seconds(lines), "", *losses(lines)])
    figure(lines)


def names(lines: Lines, key: str) -> list[str]:
    """In the order in which they come."""
    return list(dict.fromkeys(line[key] for line in lines))


def table(lines: Lines) -> list[str]:
    """Method × equation: the median of the errors at the end of the budget, and their range over the seeds."""
    cases = names(lines, "case")
    head = [f"{case}, {budget_of(lines, case):g} s, {seeds_of(lines, case)}" for case in cases]
    rows = [f"| relative error | {' | '.join(head)} |", "|---" * (len(cases) + 1) + "|"]
    for method in names(lines, "method"):
        cells = [error_cell([line for line in lines if line["case"] == c and line["method"] == method]) for c in cases]
        rows.append(f"| {method}{' (another class of model)' if method == FEATURES else ''} | {' | '.join(cells)} |")
    return rows


def error_cell(lines: Lines) -> str:
    """Median and range."""
    found = sorted(line["error"] for line in lines if line["error"] is not None and math.isfinite(line["error"]))
    if not lines:
        return "–"
    if not found:
        return f"fails: {lines[0]['result'][:60]}"
    spread = f" ({found[0]:.0e} … {found[-1]:.0e})" if len(found) > 1 else ""
    return f"{median(found):.1e}{spread}"


def table_of_seconds(lines: Lines) -> list[str]:
    """Method × equation: the median of the CPU seconds to an error of 1e-4 and of 1e-6."""
    cases, targets = names(lines, "case"), ("1e-04", "1e-06", "1e-08")
    head = ["seconds to 1e-4, 1e-6, 1e-8", *cases]
    rows = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for method in names(lines, "method"):
        cells = []
        for case in cases:
            own = [line for line in lines if line["case"] == case and line["method"] == method]
            cells.append(", ".join(seconds_to(own, target) for target in targets) if own else "–")
        rows.append(f"| {method} | {' | '.join(cells)} |")
    return rows


def seconds_to(lines: Lines, target: str) -> str:
    """Median, where a majority of the seeds gets there."""
    found = [line["reached"][target] for line in lines]
    values = sorted(math.inf if value is None else value for value in found)
    middle = values[len(values) // 2]
    return f"{middle:.2g}" if math.isfinite(middle) else "not"


def losses(lines: Lines) -> list[str]:
    """Where another method is ahead of ours, in a sentence an equation."""
    said = []
    for case in names(lines, "case"):
        ahead = []
        for moment in [m for m in MOMENTS if m <= budget_of(lines, case)]:
            errors = {m: error_at(lines, case, m, moment) for m in names(lines, "method") if m != SAME_START}
            ours = errors.pop(OURS)
            better = {m: e for m, e in errors.items() if e * AHEAD < ours}
            own = f"ours {ours:.0e}" if math.isfinite(ours) else "ours still chooses its start"
            ahead += [f"{m} at {moment:g} s ({e:.0e}; {own})" for m, e in better.items()]
        said.append(f"- {case}: {'ahead of ours are ' + ', '.join(ahead) if ahead else 'no method is ahead of ours'}.")
    return ["Where we lose, at 1, 5, 20 and 60 s by more than a factor of two:", "", *said]


def seeds_of(lines: Lines, case: str) -> str:
    """How many there are, of the method with the fewest and the one with the most."""
    own = [line["method"] for line in lines if line["case"] == case and line["method"] != FEATURES]
    counts = sorted({own.count(method) for method in own})
    return f"{' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} seeds"


def budget_of(lines: Lines, case: str) -> float:
    """In CPU seconds."""
    return next(line["budget"] for line in lines if line["case"] == case)


def error_at(lines: Lines, case: str, method: str, moment: float) -> float:
    """Median over the seeds of the error at this time; infinite before the first point."""
    own = [line["trace"] for line in lines if line["case"] == case and line["method"] == method]
    found = [next((e for s, _, e in reversed(trace) if s <= moment), math.inf) for trace in own]
    return median(found) if found else math.inf


def figure(lines: Lines) -> None:
    """Error against seconds: the median over the seeds."""
    cases = names(lines, "case")
    drawn, panels = plt.subplots(1, len(cases), figsize=(4.4 * len(cases), 4.0), layout="constrained", squeeze=False)
    for axes, case in zip(panels[0], cases, strict=True):
        moments = np.geomspace(0.05, budget_of(lines, case), 120)
        for k, method in enumerate(names(lines, "method")):
            errors = [error_at(lines, case, method, moment) for moment in moments]
            if any(map(math.isfinite, errors)):
                style = {"linewidth": 2.5 if method == OURS else 1.3, "linestyle": "--" if method == FEATURES else "-"}
                axes.step(moments, errors, where="post", label=method, color=f"C{k}", **style)
        axes.set(xscale="log", yscale="log", title=case, xlabel="CPU seconds", ylabel="relative error")
    named = {
        label: handle for axes in panels[0] for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    drawn.legend(named.values(), named, fontsize="small", loc="outside right center")
    drawn.savefig(FIGURE, dpi=110)
    plt.close(drawn)


if __name__ == "__main__":
    main()
