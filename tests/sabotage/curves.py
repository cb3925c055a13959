"""SciPy's idiom."""

from sabotage._sabotage import Sabotage

FIT, SQUARES = "curves/test_curve_fit.py", "curves/test_least_squares.py"

CURVES = (
    Sabotage(
        "curves/batched/_box.py",
        "free = free & ~outside",
        "free = free & False",
        "curves/test_batched.py::test_bounds_are_kept_exactly_and_the_minimum_is_that_of_scipy",
    ),
    Sabotage(
        "curves/batched/_problem.py",
        "return torch.where(self.weight > 0.0, self.weight * differences, 0.0)",
        "return self.weight * differences",
        "curves/test_batched.py::test_points_with_infinite_sigma_are_left_out_whatever_they_hold",
    ),
    Sabotage(
        "curves/batched/_curve_fit_batched.py",
        "pcov * (outcome.cost / free)[:, None, None]",
        "pcov * (0.5 * outcome.cost / free)[:, None, None]",
        "curves/test_batched.py::test_absolute_sigma_is_that_of_scipy",
    ),
    Sabotage(
        "curves/batched/_descent.py",
        "scale = torch.where(fits.scale > 0.0, fits.scale, 1.0)",
        "scale = torch.ones_like(fits.scale)",
        "curves/test_batched.py::test_units_change_nothing",
    ),
    Sabotage(
        "curves/_losses.py",
        "2.0 / (1.0 + (1.0 + z).sqrt())",
        "1.0 / (1.0 + z).sqrt()",
        f"{SQUARES}::test_a_loss_is_scipys_function",
    ),
    Sabotage(
        "curves/_losses.py",
        "1.0 + first * z",
        "1.0 - first * z",
        f"{SQUARES}::test_a_loss_is_scipys_function",
    ),
    Sabotage(
        "curves/_losses.py", "+ 2.0 * z * BENDS", "+ 1.0 * z * BENDS", f"{SQUARES}::test_a_loss_is_scipys_function"
    ),
    Sabotage(
        "curves/_rows.py",
        "columns, upper=False)",
        "columns, upper=True)",
        f"{FIT}::test_parameters_and_covariance_are_scipys",
    ),
    Sabotage(
        "curves/_finish.py",
        "2.0 * cost / (m - k)",
        "2.0 * cost / m",
        f"{FIT}::test_parameters_and_covariance_are_scipys",
    ),
    Sabotage(
        "curves/_statistics.py",
        "/ sigma[:, None] / units",
        "/ sigma[:, None]",
        f"{FIT}::test_covariance_does_not_depend_on_units",
    ),
    Sabotage(
        "curves/_statistics.py",
        "self.n_free * math.log(self.n_rows)",
        "2.0 * self.n_free",
        f"{FIT}::test_criteria_are_lmfits",
    ),
    Sabotage(
        "curves/_statistics.py",
        "0.5 * (1.0 + SHARE_INSIDE",
        "1.0 * (SHARE_INSIDE",
        f"{FIT}::test_intervals_of_a_line_are_those_of_textbooks",
    ),
    Sabotage(
        "curves/_curve_fit.py",
        "ones * (ones @ wanted) / (ones @ ones)",
        "wanted.mean()",
        f"{FIT}::test_r_squared_with_sigma_compares_with_the_best_constant",
    ),
    Sabotage(
        "curves/_profile.py",
        "- statistics.chi_square) / variance)",
        "- statistics.chi_square))",
        f"{FIT}::test_the_profile_ends_where_chi_square_has_risen_enough",
    ),
    Sabotage(
        "curves/_results.py",
        "variance + self._scatter(sigma)",
        "self._scatter(sigma)",
        f"{FIT}::test_bands_are_of_the_covariance",
    ),
    Sabotage(
        "curves/_box_control.py",
        "_bounded(stacked, wanted, low[movable], high[movable]) /",
        "np.linalg.lstsq(stacked, wanted)[0] /",
        f"{SQUARES}::test_bounds_are_kept_exactly_and_the_active_ones_are_told",
    ),
    Sabotage("curves/_differences.py", "(4.0 * _at(", "(3.0 * _at(", f"{SQUARES}::test_differences_stay_inside_bounds"),
    Sabotage(
        "curves/_differences.py",
        "share * wanted / max(share * float(from_zero.norm()), rounding)",
        "share",
        f"{SQUARES}::test_differences_do_not_depend_on_units",
    ),
    Sabotage(
        "curves/_differences.py",
        "if not low <= half <= high:",
        "if half != 0.0:",
        f"{SQUARES}::test_a_tiny_start_is_no_fetter",
    ),
    Sabotage(
        "curves/_differences.py",
        "max(float(here.norm()), *(part for part in parts if part < math.inf), 0.0)",
        "float(here.norm())",
        f"{SQUARES}::test_differences_from_a_parameter_of_the_size_of_rounding",
    ),
    Sabotage("curves/_parameters.py", "places] * self.scale", "places]", f"{SQUARES}::test_x_scale_changes_no_answer"),
)
