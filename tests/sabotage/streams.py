"""Derivatives by coordinates carried through a network, and residuals of equations."""

from sabotage._sabotage import Sabotage

EVERY = "outputs/streams/test_streams.py::test_every_derivative_up_to_the_fourth_order_is_that_of_torch_func"
JACOBIAN = "outputs/streams/test_streams.py::test_the_jacobian_of_streams_is_that_of_autograd"
LINE = "outputs/streams/test_streams.py::test_the_second_derivative_along_a_line_is_that_of_differences_of_the_first"
SECOND = "outputs/test_every_map.py::test_the_second_derivative_is_that_of_autograd"

STREAMS = (
    Sabotage(
        "outputs/streams/_algebra.py",
        "factor = prod(comb(counts[k], n) for k, n in zip(counts, taken, strict=True))",
        "factor = 1",
        EVERY,
    ),
    Sabotage(
        "outputs/streams/_algebra.py",
        "squares = {(self.place((k,)), self.place((k,))): 2.0 for k in self.laplacian}",
        "squares = {(self.place((k,)), self.place((k,))): 1.0 for k in self.laplacian}",
        "outputs/streams/test_streams.py::test_the_laplacian_is_one_stream_and_the_sum_of_second_derivatives",
    ),
    Sabotage("outputs/streams/_algebra.py", "comb(k, i) * factor", "factor", LINE),
    Sabotage("outputs/streams/_compose.py", "value=1.0 / factorial(k)", "value=1.0 / k", EVERY),
    Sabotage("outputs/streams/_compose.py", "        z[0] += bias", "        z += bias", EVERY),
    Sabotage("outputs/streams/_compose.py", "out[1:] += a[1:] * b[:1]", "out[1:] += a[1:]", EVERY),
    Sabotage(
        "outputs/streams/_compose.py",
        "out[right].addcmul_(slope[left], cotangent[stream], value=factor)",
        "out[right].addcmul_(slope[left], cotangent[stream])",
        JACOBIAN,
    ),
    Sabotage(
        "outputs/streams/_compose.py",
        "out[0] += (slope[1:] * cotangent[1:]).sum(0)",
        "out[0] += (slope[1:2] * cotangent[1:2]).sum(0)",
        JACOBIAN,
    ),
    Sabotage(
        "outputs/streams/_functions.py", "coefficients = [2.0, 0.0, -1.0]", "coefficients = [1.0, 0.0, -1.0]", EVERY
    ),
    Sabotage(
        "outputs/streams/_functions.py",
        "torch.addcmul(k * s[k - 1], z, s[k])",
        "torch.addcmul(s[k - 1], z, s[k])",
        EVERY,
    ),
    Sabotage(
        "outputs/streams/_layers.py",
        "_mean(multiply(x, x), axes) + eps, -0.5)",
        "_mean(multiply(x, x), axes) + 2.0 * eps, -0.5)",
        "outputs/streams/test_streams.py::test_norms_are_those_written_in_sums_and_products",
    ),
    Sabotage(
        "outputs/streams/_arithmetic.py",
        "            out[2 * n :] += 2.0 * moved[n : 2 * n]",
        "            out[2 * n :] += moved[n : 2 * n]",
        LINE,
    ),
    Sabotage(
        "outputs/streams/_arithmetic.py",
        "            out.data[2 * n :] += 2.0 * moved[n : 2 * n]",
        "            out.data[2 * n :] += moved[n : 2 * n]",
        LINE,
    ),
    Sabotage(
        "outputs/streams/_columns_of_uses.py",
        "found.append((self.bias, self.cotangents[:, :, : self.n_values].sum(2)))",
        "found.append((self.bias, self.cotangents.sum(2)))",
        JACOBIAN,
    ),
    Sabotage(
        "outputs/streams/_columns_of_uses.py",
        "first[:, : self.n_values] = 1.0",
        "first[:] = 1.0",
        "outputs/streams/test_streams.py::test_many_rows_keep_the_pieces_of_layers_and_have_the_same_derivative",
    ),
    Sabotage(
        "outputs/streams/_residual_map.py",
        "return rows.sum(0, keepdim=True) if self.equation.total else rows",
        "return rows.mean(0, keepdim=True) if self.equation.total else rows",
        "outputs/streams/test_streams.py::test_a_total_is_the_sum_of_its_rows",
    ),
    Sabotage("outputs/streams/_residual_map.py", "(0.5 * along * along) * bend", "(along * along) * bend", SECOND),
    Sabotage("outputs/streams/_residual_map.py", "u + s * moved[name]", "u + 0.0 * s", SECOND),
    Sabotage(
        "outputs/streams/_made_up.py",
        ".square().sum(1) * cycle[2]",
        ".abs().sum(1) * cycle[2]",
        "certificate/test_equations.py::test_a_condition_that_stands_twice_is_named_and_costs_nothing",
    ),
)
