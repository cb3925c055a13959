"""One formula fitted to many data sets at once."""

from sabotage._sabotage import Sabotage

CURVES = (
    Sabotage(
        "curves/_batched_box.py",
        "free = free & ~outside",
        "free = free & False",
        "curves/test_batched.py::test_bounds_are_kept_exactly_and_the_minimum_is_that_of_scipy",
    ),
    Sabotage(
        "curves/_batched_problem.py",
        "return torch.where(self.weight > 0.0, self.weight * differences, 0.0)",
        "return self.weight * differences",
        "curves/test_batched.py::test_points_with_infinite_sigma_are_left_out_whatever_they_hold",
    ),
    Sabotage(
        "curves/_batched.py",
        "pcov * (outcome.cost / free)[:, None, None]",
        "pcov * (0.5 * outcome.cost / free)[:, None, None]",
        "curves/test_batched.py::test_absolute_sigma_is_that_of_scipy",
    ),
    Sabotage(
        "curves/_batched_descent.py",
        "scale = torch.where(fits.scale > 0.0, fits.scale, 1.0)",
        "scale = torch.ones_like(fits.scale)",
        "curves/test_batched.py::test_units_change_nothing",
    ),
)
