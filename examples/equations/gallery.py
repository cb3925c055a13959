"""Solves the equations and writes docs/gallery.md: `python examples/equations/gallery.py [NAME …] [--seconds S]`."""

import argparse
import io
import json
import platform
import re
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from PIL import Image

from geodescent.app.equations import Example, SolvedEquation, names_of_examples, read_example

DOCS = Path(__file__).parents[2] / "docs"
PAGE, PICTURES = DOCS / "gallery.md", DOCS / "gallery"
RESULTS = PICTURES / "results.json"
DOTS, SHADES = 68, 256  # Per inch, and of a picture: its file is then smaller than 100 kB.
PATIENCE = 6.0  # Times the seconds of the processor: so long may a run take by the clock of the wall.

ENGD = "[Müller and Zeinhofer 2023](https://arxiv.org/abs/2302.13163)"
GNNG = "[Jnini, Vella and Zeinhofer 2024](https://arxiv.org/abs/2402.10680)"
JAX_PI = "[Wang and others 2023](https://arxiv.org/abs/2308.08468)"
DSGNAR = "[DSGNAR 2026](https://arxiv.org/abs/2607.02194)"
ANCHORS = {
    "poisson": f"6.2e-8 in 851 s on a GPU, {ENGD}",
    "poisson_5d": f"5.6e-8 in 3,000 s on a GPU, {ENGD}",
    "heat": f"3.1e-8 in 1,000 s on a GPU, {ENGD}",
    "burgers": f"4.8e-7 in 10 s and 1.9e-12 in 144 s on an H100, {DSGNAR}",
    "allen_cahn_sharp": f"5.4e-5 on a GPU, from another start, x² cos πx, {JAX_PI}",
    "kovasznay": f"“near single precision”, {GNNG}",
}


def main() -> None:
    """Runs what was asked for, keeps what was measured, and writes the page from all that is kept."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("names", nargs="*", help="equations; all without")
    options.add_argument("--seconds", type=float, help="of the processor, for each; as many as its file says without")
    options.add_argument("--seeds", type=int, default=3, help="of each equation; the picture is that of the first")
    asked = options.parse_args()
    torch.set_num_threads(1)
    PICTURES.mkdir(exist_ok=True)
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for seed in range(asked.seeds):
        for name in asked.names or names_of_examples():
            example = read_example(name)
            seconds, look = budget(example, asked.seconds)
            solved = example.run(seconds, seed=seed, callback=look)
            if seed == 0:
                draw(solved)
                kept[name] = facts(solved)
            kept[name]["runs"].append(measured(solved))
            sentence, took = solved.sentence(), solved.processor_seconds
            print(f"{name}, seed {seed}: {sentence}; {took:.1f} s of the processor; {rate():.0f} GF/s", flush=True)
            RESULTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
            write(kept)


def rate() -> float:
    """Of a product of 1000 × 1000 float64 matrices on one thread, in GF/s of the processor's clock."""
    a, seconds = torch.ones(1000, 1000, dtype=torch.float64), list[float]()
    for _ in range(5):
        begin = time.process_time()
        a @ a
        seconds.append(time.process_time() - begin)
    return 2.0 / median(seconds)


def draw(solved: SolvedEquation) -> None:
    """Keeps the picture."""
    picture = Image.open(io.BytesIO(solved.picture(DOTS))).convert("RGB").quantize(SHADES)
    picture.save(PICTURES / f"{solved.example.name}.png", optimize=True)


def budget(example: Example, seconds: float | None) -> tuple[float, Callable[[object], None] | None]:
    """Seconds by the wall, and what ends the fit by the clock of the processor.

    Where points are added, the time is divided by the wall, so that only an idle machine gives it all of its seconds.
    """
    seconds = example.seconds if seconds is None else seconds
    if example.refinements:
        return seconds, None
    begin = time.process_time()

    def look(_: object) -> None:
        if time.process_time() - begin > seconds:
            raise StopIteration

    return PATIENCE * seconds, look


def facts(solved: SolvedEquation) -> dict:
    """What the table shows of an equation, and an empty list of its runs."""
    return {
        "parameters": len(solved.solution.theta),
        "points": solved.n_points,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "runs": [],
    }


def measured(solved: SolvedEquation) -> dict:
    """What the table shows of a run."""
    return {
        "error": solved.error,
        "off": dict(solved.off),
        "seconds": round(solved.processor_seconds, 1),
        "steps": solved.solution.steps,
    }


def shown(runs: list[dict]) -> str:
    """The median of the errors, and the largest; of unknown coefficients the same."""
    errors = {} if runs[0]["error"] is None else {"": [run["error"] for run in runs]}
    errors |= {f"{name}: ": [run["off"][name] for run in runs] for name in runs[0]["off"]}
    return ", ".join(f"{what}{median(found):.1e} (≤ {max(found):.1e})" for what, found in errors.items()) or "–"


def write(kept: dict[str, dict]) -> None:
    """Puts the table and the pictures between the marks of the page, in the order of the examples."""
    names = {name: title for name, title in names_of_examples().items() if name in kept}
    lines = ["| equation | relative error | seconds | parameters | points | published |", "|---|---|---|---|---|---|"]
    for name in names:
        found = kept[name]
        cells = [f"[{name}](#{name})", shown(found["runs"]), f"{median(run['seconds'] for run in found['runs']):g}"]
        cells += [f"{found['parameters']:,}", f"{found['points']:,}", ANCHORS.get(name, "–")]
        lines.append(f"| {' | '.join(cells)} |")
    for name, title in names.items():
        equation = read_example(name).equation
        said = equation.split(", ")[0] in title
        lines += ["", f'<a id="{name}"></a>', "", f"### {name}", "", title if said else f"{title}\n\n{equation}"]
        lines += ["", f"![{name}: fields, errors, residual](gallery/{name}.png)", "", f"`geodescent solve {name}`"]
    marked = "<!-- gallery: begin (generated) -->\n" + "\n".join(lines) + "\n<!-- gallery: end -->"
    text = re.sub(r"<!-- gallery: begin.*<!-- gallery: end -->", lambda _: marked, PAGE.read_text(), flags=re.DOTALL)
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
