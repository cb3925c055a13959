"""The tables of noisy data in docs/measured.md, from the lines of tables.py and command.py.

python benchmarks/tables.py > benchmarks/tables.jsonl
python benchmarks/command.py > benchmarks/command.jsonl
python benchmarks/tables_page.py
"""

import json
from pathlib import Path

from readme import MEASURED, put

HERE = Path(__file__).parent


def main() -> None:
    """Writes both tables."""
    lines = [json.loads(line) for line in (HERE / "tables.jsonl").read_text().splitlines()]
    named = [line for line in lines if "table" in line]
    totals = {key: value for line in lines if "table" not in line for key, value in line.items()}
    put(MEASURED, "noisy tables", [*regressions(named), "", *classes(named), "", *in_words(totals)])
    put(MEASURED, "command", command())


def regressions(lines: list[dict]) -> list[str]:
    """A row for each table of numbers: the root mean square error of each method."""
    own = [line for line in lines if "rmse" in line]
    methods = list(dict.fromkeys(line["method"] for line in own))
    rows = [f"| RMSE | {' | '.join(methods)} |", "|---" * (len(methods) + 1) + "|"]
    for table in dict.fromkeys(line["table"] for line in own):
        found = {line["method"]: line["rmse"] for line in own if line["table"] == table}
        rows.append(f"| {table} | {' | '.join(f'{found[m]:.4g}' for m in methods)} |")
    return rows


def classes(lines: list[dict]) -> list[str]:
    """A row for each table of classes: the log loss of each method."""
    own = [line for line in lines if "log_loss" in line]
    methods = list(dict.fromkeys(line["method"] for line in own))
    rows = [f"| log loss | {' | '.join(methods)} |", "|---" * (len(methods) + 1) + "|"]
    for table in dict.fromkeys(line["table"] for line in own):
        found = {line["method"]: line["log_loss"] for line in own if line["table"] == table}
        rows.append(f"| {table} | {' | '.join(f'{found[m]:.3f}' if m in found else '–' for m in methods)} |")
    return rows


def in_words(totals: dict) -> list[str]:
    """What the tables come to."""
    return [f"{name}: {json.dumps(value, ensure_ascii=False)}." for name, value in totals.items()]


def command() -> list[str]:
    """A row for each data set of the command."""
    lines = [json.loads(line) for line in (HERE / "command.jsonl").read_text().splitlines()]
    rows = [
        "| data | mode | error | the better of linear model and boosted trees | difference | calibration, coverage |",
        "|---" * 6 + "|",
    ]
    for line in lines:
        if "data" not in line:
            rows += ["", f"Geometric mean of the ratios to the better: {line['geometric_mean_of_ratios']:.3f}."]
            continue
        name = "log_loss" if "log_loss" in line else "rmse"
        last = f"{line['ece']:.3f}" if line["ece"] is not None else f"{line['coverage']:.3f}"
        apart = f"{line['difference']:+.3g} ± {line['standard_error']:.2g}"
        better = f"{line['better']} {line['baselines'][line['better']]:.4g}"
        error = f"{name.replace('_', ' ')} {line[name]:.4g}"
        rows.append(f"| {line['data']} | {line['mode'][0]} | {error} | {better} | {apart} | {last} |")
    return rows


if __name__ == "__main__":
    main()
