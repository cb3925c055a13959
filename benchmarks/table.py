"""RESULTS.md, its figures and the README's table, from the lines: `python benchmarks/table.py [--quick]`.

Every case × every peer has a row: numbers, "not reached in B s", or the reason why there is no run. A missing row ends
the command with status 1 after the rows that are there were written. `--quick` prints the quick set's tables instead.
"""

import argparse
import math
import sys
from pathlib import Path
from statistics import mean, median, stdev

from cases import CASES
from estimators import ESTIMATORS
from figures import performance_profile, scaling_plot
from peers import PEERS
from protocol import FULL, QUICK, Line, Protocol, finals, moved
from races import OURS, Race, bounded_ratio, geometric_mean, races
from readme import README, put
from recorder import TARGETS
from results import HERE, read
from standing import Standing, hardest_target, standing


def main() -> None:
    """Writes the tables; status 1 where rows are missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the quick set, to the terminal")
    parser.add_argument("--lines", type=Path, help="another file of lines")
    parser.add_argument("--out", type=Path, help="another folder for RESULTS.md and the figures")
    arguments = parser.parse_args()
    protocol = QUICK if arguments.quick else FULL
    lines = read(arguments.lines or HERE / f"{protocol.name}.jsonl")
    text = "\n".join(sections(protocol, lines)) + "\n"
    if arguments.quick:
        print(text)
    else:
        folder = arguments.out or HERE
        (folder / "RESULTS.md").write_text(text)
        performance_profile(protocol, lines, folder / "profile.png")
        scaling_plot(lines, folder / "scaling.png")
    lacking = missing(protocol, lines)
    if not (lacking or arguments.quick or arguments.out):
        put(README, "peers", in_short(races(protocol, lines)))
    if lacking:
        sys.exit("rows are missing: " + "; ".join(lacking))


def missing(protocol: Protocol, lines: list[Line]) -> list[str]:
    """Case × peer without any row, and figures without their lines."""
    pairs = [(case, name) for case in protocol.cases for name in protocol.peers if not PEERS[name].absent]
    lacking = [f"{case} × {name}" for case, name in pairs if not finals(lines, case, name)]
    if protocol.estimators:
        fitted = {(line["case"], line["peer"]) for line in lines if line["phase"] == "estimator"}
        lacking += [f"{case} × {name}" for case in protocol.cases for name in ESTIMATORS if (case, name) not in fitted]
        lacking += [] if any(line["phase"] == "scaling" for line in lines) else ["scaling"]
    return lacking


def sections(protocol: Protocol, lines: list[Line]) -> list[str]:
    """The whole document."""
    racing = [case for case in protocol.cases if not CASES[case].noisy]
    noisy = [case for case in protocol.cases if CASES[case].noisy]
    parts = ["# Benchmark", "", *preamble(protocol, lines), ""]
    parts += ["## Time to the hardest target", "", *summary(protocol, lines), ""]
    parts += ["![performance profile](profile.png)", ""] if protocol is FULL else []
    parts += ["## Time to each target, every case and every peer", "", *every_row(protocol, lines, racing), ""]
    parts += ["## Noisy regression: held-out cost at each method's own stopping", ""]
    parts += [*noisy_table(protocol, lines, noisy), ""]
    if protocol.estimators:
        parts += ["## Estimators of other kinds: held-out cost", "", *estimator_table(protocol, lines), ""]
        parts += ["## Cost of a step", "", *step_table(lines), "", "![scaling](scaling.png)"]
    return parts


def preamble(protocol: Protocol, lines: list[Line]) -> list[str]:
    """Where the numbers come from."""
    runs = [line for line in lines if "versions" in line]
    if not runs:
        return ["No runs yet."]
    versions = {name: v for line in runs for name, v in (line["versions"] | line.get("jax_versions", {})).items()}
    rates = sorted(line["product_gflops"] for line in runs if "product_gflops" in line) or [math.nan]
    precision = {line["float32_matmul_precision"] for line in runs if "float32_matmul_precision" in line}
    return [
        f"Generated from {len(lines)} lines; protocol in protocol.py. Commits: {joined({r['commit'] for r in runs})}.",
        f"Device: {joined({r['device'] for r in runs})}, {joined({str(r['threads']) for r in runs})} threads; "
        f"{joined({r['dtype'] for r in runs})}; float32 matmul precision: {joined(precision)}.",
        f"A 1000 × 1000 float64 product ran at {rates[0]:.0f} to {rates[-1]:.0f} GF/s, median {median(rates):.0f}.",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) + ".",
        f"Budget: {protocol.final_seconds:g} s a run, {protocol.seeds} seeds. Times are medians [quartiles] in "
        "seconds; a seed that misses counts as infinite. C = ‖x − y‖²/(2N).",
    ]


def joined(values: set[str]) -> str:
    """Sorted, with commas."""
    return ", ".join(sorted(values))


def summary(protocol: Protocol, lines: list[Line]) -> list[str]:
    """Ours against the best peer of each case, and the geometric mean of the ratios."""
    head = ["case", "hardest target", "geodescent", "best peer", "its time", "ratio", "GF/s in these runs"]
    rows = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    run = races(protocol, lines)
    for race in run:
        cells = [race.case, shown_target(race.target), race.ours.time(protocol), race.best.name]
        cells += [race.best.time(protocol), shown_ratio(race.bound, race.ratio)]
        cells += [f"{rate(lines, race.case, OURS)} and {rate(lines, race.case, race.best.name)}"]
        rows.append(f"| {' | '.join(cells)} |")
    known = [race for race in run if math.isfinite(race.ratio)]
    if known:
        lost = [race for race in known if race.ratio < 1 / 1.2 or math.isinf(race.ours.median)]
        slower = [f"{race.case} ({shown_ratio(race.bound, race.ratio)})" for race in lost]
        rows += ["", f"Geometric mean of the ratios: {geometric_mean(known):.2f}."]
        rows += ["A ratio with ≥ takes the budget for the time of a peer that never arrives; with ≤, for ours."]
        rows += [f"Slower than the best peer by more than 1.2, or not there: {', '.join(slower) or 'none'}."]
        rows += [
            "Times are as measured; GF/s is the rate of a 1000 × 1000 float64 product just before the runs, median."
        ]
    return rows


ABREAST = 3  # cases in a row of the README's table


def in_short(run: list[Race]) -> list[str]:
    """The same for the README: case and cost, our seconds, and the best peer's over them."""
    cells = list[str]()
    for race in (race for race in run if math.isfinite(race.ratio)):
        ours = f"{race.ours.median:.2g}" if math.isfinite(race.ours.median) else "not reached"
        cells.append(f"{race.case}, {shown_target(race.target)} | {ours} | {shown_ratio(race.bound, race.ratio)}")
    overall = geometric_mean([race for race in run if math.isfinite(race.ratio)])
    cells.append(f"**geometric mean** | | **{overall:.2g}**")
    cells += [" | | "] * (-len(cells) % ABREAST)
    head = " | ".join(["case, cost | seconds | best peer's ÷ ours"] * ABREAST)
    rows = [" | ".join(cells[i : i + ABREAST]) for i in range(0, len(cells), ABREAST)]
    return [f"| {head} |", "|" + "---|" * 3 * ABREAST, *(f"| {row} |" for row in rows)]


def shown_ratio(bound: str, ratio: float) -> str:
    """A ratio in few letters; a dash where neither arrives."""
    return f"{bound}{ratio:.2g}" if math.isfinite(ratio) else "–"


def rate(lines: list[Line], case: str, name: str) -> str:
    """Median rate of the product in the final runs of a peer; a dash without any."""
    rates = [line["product_gflops"] for line in finals(lines, case, name) if "product_gflops" in line]
    return f"{median(rates):.0f}" if rates else "–"


def shown_target(target: float) -> str:
    """A target in few letters."""
    return "none reached" if math.isinf(target) else f"{target:.0e}"


def every_row(protocol: Protocol, lines: list[Line], cases: list[str]) -> list[str]:
    """The long table: median time to each target, then cost and held-out cost at the end."""
    head = ["case", "peer", "setting", "start", "seeds", *(f"{t:.0e}" for t in TARGETS)]
    head += ["to ours at the hardest", "cost", "held out"]
    rows = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for case in cases:
        target = hardest_target(protocol, lines, case)
        ours = standing(lines, case, OURS, target)
        for name in protocol.peers:
            rows.append(f"| {case} | {name} | {row(protocol, lines, case, name, target, ours)} |")
    return rows


def row(protocol: Protocol, lines: list[Line], case: str, name: str, target: float, ours: Standing) -> str:
    """One peer on one case; a reason where there are no numbers."""
    runs, blank = finals(lines, case, name), " | " * (len(TARGETS) + 3)
    entry = standing(lines, case, name, target)
    if entry.reason:
        return f"{entry.reason} | | {len(runs)}{blank}"
    times = [standing(lines, case, name, t).short(protocol) for t in TARGETS]
    against = shown_ratio(*bounded_ratio(protocol, ours, entry))
    against = f"{entry.time(protocol)} ({against})" if math.isinf(entry.median) else against
    setting = ", ".join(f"{key} {value}" for key, value in runs[0]["setting"].items()) or "defaults"
    cells = [setting, runs[0]["start"], str(len(runs)), *times, against]
    return " | ".join([*cells, f"{entry.end_cost:.1e}", entry.held_out()])


def noisy_table(protocol: Protocol, lines: list[Line], cases: list[str]) -> list[str]:
    """Mean and standard error over seeds; time is shown and not counted."""
    rows = ["| case | peer | held out ± standard error | cost | seconds | seeds |", "|---|---|---|---|---|---|"]
    for case in cases:
        for name in protocol.peers:
            entry = standing(lines, case, name, math.inf)
            runs, values = finals(lines, case, name), list(held_out_by_seed(lines, case, name).values())
            cells = [entry.reason or "not finite", "", "", str(len(values))]
            if values:
                seconds = median(line["seconds"] for line in runs if moved(line))
                cells = [
                    f"{mean(values):.4f} ± {standard_error(values):.4f}",
                    f"{entry.end_cost:.1e}",
                    f"{seconds:.1f}",
                ]
                cells.append(str(len(values)))
            rows.append(f"| {case} | {name} | {' | '.join(cells)} |")
    return [*rows, "", *(against_the_best(protocol, lines, case) for case in cases)]


def held_out_by_seed(lines: list[Line], case: str, name: str) -> dict[int, float]:
    """Of the final runs that took a step and ended finite."""
    runs = [line for line in finals(lines, case, name) if moved(line)]
    return {line["seed"]: line["held_out"] for line in runs if line["held_out"] is not None}


def standard_error(values: list[float]) -> float:
    """Of the mean; NaN for a single value."""
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def against_the_best(protocol: Protocol, lines: list[Line], case: str) -> str:
    """Whether ours is no worse than the best peer beyond one standard error of their difference, seed by seed."""
    ours = held_out_by_seed(lines, case, OURS)
    theirs = {name: held_out_by_seed(lines, case, name) for name in protocol.peers if not PEERS[name].ours}
    theirs = {name: values for name, values in theirs.items() if len(values.keys() & ours.keys()) > 1}
    if not theirs:
        return f"- {case}: nothing to compare."
    best = min(theirs, key=lambda name: mean(theirs[name].values()))
    differences = [ours[seed] - theirs[best][seed] for seed in sorted(ours.keys() & theirs[best].keys())]
    error = standard_error(differences)
    verdict = "no worse" if mean(differences) <= error else "worse"
    difference = f"{mean(differences):+.2g} ± {error:.2g} (standard error, {len(differences)} seeds)"
    return f"- {case}: {verdict} than the best peer, {best}; difference {difference}."


def estimator_table(protocol: Protocol, lines: list[Line]) -> list[str]:
    """The better of each estimator's grid by held-out cost itself, beside geodescent."""
    rows = ["| case | model | held out | cost | seconds |", "|---|---|---|---|---|"]
    for case in protocol.cases:
        runs = finals(lines, case, OURS)
        for name in (OURS, *ESTIMATORS):
            made = runs if name == OURS else [r for r in lines if r["phase"] == "estimator" and r["peer"] == name]
            made = [r for r in made if r["case"] == case and r.get("held_out") is not None]
            reasons = {r.get("reason", "") for r in lines if r["case"] == case and r["peer"] == name} - {""}
            rows.append(f"| {case} | {name} | {best_of_grid(made) if made else f'{joined(reasons)} | | '} |")
    return rows


def best_of_grid(runs: list[Line]) -> str:
    """Medians over the seeds of the setting whose median held-out cost is least."""
    grid = {str(run["setting"]): [other for other in runs if other["setting"] == run["setting"]] for run in runs}
    best = min(grid.values(), key=lambda group: median(line["held_out"] for line in group))
    held, cost, seconds = (median(line[key] or 0.0 for line in best) for key in ("held_out", "cost", "seconds"))
    return f"{held:.2e} | {cost:.1e} | {seconds:.2g}"


def step_table(lines: list[Line]) -> list[str]:
    """The exact step against one Adam step, and the exponents of the scaling."""
    rows = [f"- {line['what']}: {line['text']}" for line in lines if line["phase"] == "scaling"]
    return rows or ["Not measured."]


if __name__ == "__main__":
    main()
