"""Factors of symmetric matrices, and iterations through products alone."""

from sabotage._sabotage import Sabotage

LINALG = (
    Sabotage(
        "linalg/_factors.py",
        "not smallest > n * eps * largest",
        "not smallest > 0.0",
        "theorems/test_rank.py::test_1_7_a_cholesky_of_duplicates_is_not_trusted",
    ),
    Sabotage(
        "linalg/_factors.py",
        "(rcond or 0.0) ** 2) * largest",
        "rcond or 0.0) * largest",
        "theorems/test_rank.py::test_1_7_a_relative_cut_keeps_the_singular_values_above_it",
    ),
    Sabotage(
        "linalg/_factors.py",
        "math.sqrt(level * largest))",
        "level * largest)",
        "theorems/test_rank.py::test_1_7_through_the_gram_matrix_nothing_below_its_resolution_is_kept",
    ),
    Sabotage(
        "linalg/_factors.py",
        "keep = values > cut\n",
        "keep = values >= -cut\n",
        "theorems/test_rank.py::test_1_7_the_penrose_inverse_jumps_where_the_rank_changes",
    ),
    Sabotage(
        "linalg/_krylov.py",
        "(rho - dot(previous, s)) / rho_previous",
        "rho_previous / (rho - dot(previous, s))",
        "linalg/test_iterations.py::test_conjugate_gradients_need_as_many_steps_as_there_are_eigenvalues",
    ),
    Sabotage(
        "linalg/_krylov.py",
        "step = dot(near, b) / curvature",
        "step = 1.0",
        "linalg/test_iterations.py::test_conjugate_gradients_begin_on_the_line_of_what_is_near",
    ),
    Sabotage(
        "linalg/_krylov.py",
        "for vector in basis + basis:",
        "for vector in basis[-1:]:",
        "linalg/test_iterations.py::test_lanczos_values_lie_inside_the_spectrum",
    ),
    Sabotage(
        "linalg/_krylov.py",
        "if not (curvature > 0.0 and rho > 0.0",
        "if not (rho > 0.0",
        "linalg/test_iterations.py::test_conjugate_gradients_stop_at_negative_curvature",
    ),
    Sabotage(
        "linalg/_lsmr.py",
        "theta_new, alpha_bar = s * alpha, c * alpha",
        "theta_new, alpha_bar = c * alpha, s * alpha",
        "linalg/test_iterations.py::test_lsmr_is_the_least_norm_least_squares_solution",
    ),
    Sabotage(
        "linalg/_stopping.py",
        "slack**2 * min(left, energy - left)",
        "slack**2 * left",
        "linalg/test_stopping.py::test_the_gap_is_held_against_the_smaller_of_what_is_left_and_what_is_gained",
    ),
    Sabotage(
        "linalg/_stopping.py",
        "recent <= fall / (count + STEP_ITERATIONS)",
        "recent <= fall / count",
        "linalg/test_stopping.py::test_the_pace_ends_a_solve_where_a_new_step_would_bring_more",
    ),
)
