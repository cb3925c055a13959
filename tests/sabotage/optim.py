"""Optimisers in PyTorch's idiom."""

from sabotage._sabotage import Sabotage

OPTIM = (
    Sabotage(
        "optim/_rates.py",
        "self.rate / turned\n",
        "0.5 * self.rate / turned\n",
        "optim/test_elra.py::test_p2min_is_the_capped_barzilai_borwein_rate_of_the_same_two_gradients",
    ),
    Sabotage(
        "optim/_rates.py",
        "0.6 if c > 0.0",
        "0.5 if c > 0.0",
        "optim/test_elra.py::test_c2min_is_the_published_rule_for_a_hundred_steps",
    ),
    Sabotage(
        "optim/_elra.py",
        "float(torch.dot(x",
        "float(x.flatten()[0]) + float(torch.dot(x",
        "optim/test_elra.py::test_the_path_does_not_depend_on_the_coordinates",
    ),
)
