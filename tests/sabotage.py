"""`make sabotage`: for each theorem one wrong formula, and the test that must notice it.

Each sabotage is made in a copy of the package; the file in the tree is never touched.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
THEOREMS = "theorems"

# theorem, file, right, wrong, the test that must fail, and where it lies if not with the theorems
SABOTAGES = [
    ("1.1", "flow/_field.py", "return -residual\n", "return -2.0 * residual\n", "test_1_1_the_measured_cost_follows"),
    ("1.2", "theory.py", "return 0.5 * math.log", "return math.log", "test_1_2_the_stopping_time_inverts"),
    (
        "1.3",
        "jacobian/_cotangents.py",
        "collected = u * flat[:, 0] if",
        "collected = 2.0 * u * flat[:, 0] if",
        "test_1_3",
    ),
    (
        "1.4",
        "lift/_normal_lift.py",
        "leave(solution), misfit, self.factor.rank",
        "leave(2.0 * solution), misfit, self.factor.rank",
        "test_1_4",
    ),
    ("1.5", "theory.py", "(cost0 - floor) * np.exp", "cost0 * np.exp", "test_1_5_the_curve_where_rank_is_lost"),
    ("1.6", "flow/_path.py", "norm(p.theta - origin)", "norm(p.theta)", "test_1_6 or test_2_2"),
    ("1.7", "linalg/_factors.py", "not smallest > n * eps * largest", "not smallest > 0.0", "test_1_7_a_cholesky"),
    (
        "1.8",
        "descent/_walk.py",
        "Displacement(self.step_size * lifted.velocity)",
        "Displacement(lifted.velocity)",
        "test_1_8_an_euler_step",
    ),
    (
        "1.8",
        "problem/_problem.py",
        "ratio = block.weight * self.n_samples / block.total_weight",
        "ratio = block.weight",
        "test_1_8_the_full_step_of_weighted_blocks",
    ),
    ("1.9", "certificate/_margin.py", "sigma**2 / (2.0 * lipschitz", "sigma**2 / (0.5 * lipschitz", "test_1_9"),
    (
        "2.1",
        "lift/_gram_lift.py",
        "factor(prepared.product, damping=damping,",
        "factor(prepared.product, damping=0.5 * damping,",
        "test_2_1",
    ),
    ("2.2", "flow/_field.py", "return -residual0", "return -residual", "test_2_2_the_same_path"),
    ("2.3", "flow/_path.py", "math.exp(-time) * residual0", "math.exp(-2.0 * time) * residual0", "test_2_3"),
    (
        "2.3",
        "flow/_path.py",
        "(from_line, damping=0.0).misfit",
        "(2.0 * from_line, damping=0.0).misfit",
        "test_2_3_what_lies_outside",
    ),
    (
        "2.1",
        "lift/_homotopy_lift.py",
        "Between(self.metric, damped, 1.0 /",
        "Between(self.metric, damped, 2.0 /",
        "test_2_1",
        "geometry/test_homotopy.py",
    ),
    ("2.4", "costs.py", "(sums - logs.sum(1)) /", "(sums + logs.sum(1)) /", "test_2_4", "test_costs.py"),
    (
        "2.4",
        "geometry/_cost_flow.py",
        "1.0 / torch.where(kept, root",
        "1.0 / torch.where(kept, values",
        "test_2_4",
        "geometry/test_cost_flow.py",
    ),
    (
        "1.5",
        "geometry/_critical.py",
        "dimension = max(smooth or",
        "dimension = point.nullity or max(smooth or",
        "test_1_5",
        "geometry/test_classify.py",
    ),
    (
        "1.6",
        "geometry/_horizontal.py",
        "start + side * f, start]",
        "start + side * f, start + side * f]",
        "test_1_6",
        "geometry/test_horizontal.py",
    ),
    (
        "3.2",
        "constructive/_truncation.py",
        "self._stretched(1.0 / self.aperture)",
        "self._stretched(self.aperture)",
        "test_3",
        "constructive/test_constructive.py",
    ),
    (
        "3.3",
        "constructive/_truncation.py",
        "min(1.0, ROOM * widest)",
        "1.0",
        "test_3_3",
        "constructive/test_constructive.py",
    ),
    (
        "3.5",
        "constructive/_shallow.py",
        "means @ means.T + spread",
        "means @ means.T + 2.0 * spread",
        "test_3_5",
        "constructive/test_constructive.py",
    ),
    ("1.9", "certificate/_margin.py", "2.0 * distance / (sigma", "distance / (sigma", "test_1_9"),
    (
        "1.5",
        "geometry/_planted.py",
        "cuts.diff(), strict",
        "2.0 * cuts.diff(), strict",
        "test_1_5",
        "geometry/test_planted.py",
    ),
    (
        "2.4",
        "geometry/_cost_flow.py",
        "-cost.gradient(outputs, targets).reshape(-1)",
        "-2.0 * cost.gradient(outputs, targets).reshape(-1)",
        "test_2_4",
        "geometry/test_cost_flow.py",
    ),
    (
        "3.6",
        "constructive/_wide.py",
        "(before + along)",
        "(before + 0.9 * along)",
        "test_3_6",
        "constructive/test_constructive.py",
    ),
    ("5.6", "geometry/_combined.py", "jacobian.mv(slope) -", "-", "test_5_6", "geometry/test_refine.py"),
    ("5.6", "geometry/_refine.py", "slope - place.horizontal(slope)", "slope", "test_5_6", "geometry/test_refine.py"),
    (
        "4",
        "optim/_rates.py",
        "self.rate / turned\n",
        "0.5 * self.rate / turned\n",
        "barzilai_borwein",
        "optim/test_elra.py",
    ),
    ("4", "optim/_rates.py", "0.6 if c > 0.0", "0.5 if c > 0.0", "test_c2min_is_the_published", "optim/test_elra.py"),
    (
        "4",
        "optim/_elra.py",
        "float(torch.dot(x",
        "float(x.flatten()[0]) + float(torch.dot(x",
        "coordinates",
        "optim/test_elra.py",
    ),
]


def main() -> int:
    """Prints a line for each sabotage; the number of those that nobody noticed."""
    survivors = 0
    for theorem, file, right, wrong, test, *elsewhere in SABOTAGES:
        noticed = _noticed(file, right, wrong, test, ROOT / "tests" / (elsewhere[0] if elsewhere else THEOREMS))
        survivors += not noticed
        print(f"{theorem}  {file}: {right.strip()!r} -> {wrong.strip()!r}: {'noticed' if noticed else 'SURVIVED'}")
    return survivors


def _noticed(file: str, right: str, wrong: str, test: str, tests: Path) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "src", Path(folder) / "src")
        path = Path(folder) / "src" / "geodescent" / file
        text = path.read_text()
        if right not in text:
            raise SystemExit(f"{file} no longer holds {right!r}: mend the list in {__file__}")
        path.write_text(text.replace(right, wrong))
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(tests), "-k", test]
        environment = {**os.environ, "PYTHONPATH": str(Path(folder) / "src")}
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    return done.returncode == 1


if __name__ == "__main__":
    sys.exit(main())
