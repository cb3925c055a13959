"""The derivative D as something that multiplies."""

from sabotage._sabotage import Sabotage

JACOBIAN = (
    Sabotage(
        "jacobian/_cotangents.py",
        "collected = u * flat[:, 0] if",
        "collected = 2.0 * u * flat[:, 0] if",
        "jacobian/test_jacobian.py::test_jacobian_is_that_of_autograd_in_float64",
    ),
    Sabotage(
        "jacobian/_block.py",
        "return 2 * (2 * n * q * p + n * q * other_rows) * columns.width",
        "return 20 * (2 * n * q * p + n * q * other_rows) * columns.width",
        "jacobian/test_gram.py::test_the_cheaper_route_by_counted_flops_is_taken",
    ),
    Sabotage(
        "jacobian/_block_jacobian.py",
        "return 0.5 * sum(block.gram_flops(self.n_residuals) for block in self.blocks)",
        "return 5.0 * sum(block.gram_flops(self.n_residuals) for block in self.blocks)",
        "jacobian/test_gram.py::test_the_flops_of_a_gram_matrix_are_half_of_those_of_the_cheaper_route",
    ),
    Sabotage(
        "jacobian/_block.py",
        "CALL_FLOPS + 4.0 * self.n_samples",
        "CALL_FLOPS + 40.0 * self.n_samples",
        "jacobian/test_gram.py::test_flops_are_those_that_torch_counts",
    ),
    Sabotage(
        "jacobian/_block_jacobian.py",
        "part.mixed(unit[:, None]).gram() / n_outputs",
        "part.mixed(unit[:, None]).gram()",
        "jacobian/test_every_jacobian.py::test_its_matrices_are_those_of_the_matrix",
    ),
    Sabotage(
        "jacobian/_outer_columns.py",
        "scale = columns[self.index] if self.scale is None else self.scale * columns[self.index]",
        "scale = columns[self.index]",
        "jacobian/test_jacobian.py::test_scaling_rows_and_columns",
    ),
    # a recorded call in the place of D
    Sabotage(
        "jacobian/_recorded_block.py",
        "return v if self.scale is None else v * self.scale",
        "return v",
        "outputs/test_recorded.py::test_scaled_mixed_and_converted_it_is_what_the_columns_are",
    ),
    Sabotage(
        "jacobian/_recorded_block.py",
        "scale=scale, tally=Tally())",
        "scale=scale)",
        "outputs/test_recorded.py::test_in_another_precision_products_are_counted_anew",
    ),
    Sabotage(
        "jacobian/_recorded_block.py",
        "return fits(self.n_samples * bytes_a_sample((self,)), self.outline.columns[0].index.device)",
        "return True",
        "outputs/test_recorded.py::"
        "test_columns_are_made_at_once_for_as_many_products_as_they_cost_and_never_where_they_do_not_fit",
    ),
    Sabotage(
        "jacobian/_recorded_block.py",
        "self.tally.products += 1",
        "self.tally.products += 0",
        "outputs/test_recorded.py::test_columns_are_made_where_they_are_asked_or_once_products_have_cost_as_much",
    ),
    Sabotage(
        "jacobian/_block_jacobian.py",
        "blocks.append(block.mixed((2 * signs - 1).to(self.device, self.dtype)))",
        "blocks.append(block.mixed(signs.to(self.device, self.dtype)))",
        "outputs/test_recorded.py::test_a_sketch_is_a_random_sum_of_outputs_whose_mean_square_is_that_of_d",
    ),
)
