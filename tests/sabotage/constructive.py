"""Networks in closed form."""

from sabotage._sabotage import Sabotage

TESTS = "constructive/test_constructive.py"

CONSTRUCTIVE = (
    Sabotage(
        "constructive/_truncation.py",
        "self._stretched(1.0 / self.aperture)",
        "self._stretched(self.aperture)",
        f"{TESTS}::test_3_2_a_truncation_keeps_one_cone_and_sends_the_other_to_its_point",
    ),
    Sabotage(
        "constructive/_truncation.py",
        "self._stretched(1.0 / self.aperture)",
        "self._stretched(self.aperture)",
        f"{TESTS}::test_3_3_classes_in_balls_are_fitted_exactly",
    ),
    Sabotage(
        "constructive/_truncation.py",
        "min(1.0, ROOM * widest)",
        "1.0",
        f"{TESTS}::test_3_3_real_classes_that_are_separable_are_fitted_exactly",
    ),
    Sabotage(
        "constructive/_shallow.py",
        "means @ means.T + spread",
        "means @ means.T + 2.0 * spread",
        f"{TESTS}::test_3_5_the_shallow_minimum_is_that_of_least_squares",
    ),
    Sabotage(
        "constructive/_wide.py",
        "(before + along)",
        "(before + 0.9 * along)",
        f"{TESTS}::test_3_6_any_targets_of_distinct_inputs_are_fitted",
    ),
)
