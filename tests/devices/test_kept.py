"""What outlives a fit on each device: checkpoints, pickles, what is printed and drawn, and the device's memory."""

import pickle
from pathlib import Path

import pytest
import torch
from support.device_nets import net
from support.devices import F64, assert_on, assert_same_number, moved

import geodescent as gd
from geodescent._budget import available_bytes

CPU = torch.device("cpu")


@pytest.mark.parametrize("resumed_on", ["device", "cpu"])
def test_a_checkpoint_is_resumed_here_and_on_the_cpu(device: torch.device, tmp_path: Path, resumed_on: str) -> None:
    start = net("vectors")
    model, inputs, y = moved(start, device)
    first = gd.fit(model, inputs, y, max_steps=3, checkpoint=tmp_path)
    at = device if resumed_on == "device" else CPU
    model, inputs, y = moved(start, at)
    again = gd.fit(model, inputs, y, max_steps=6, checkpoint=tmp_path)
    assert_on(again.theta, at)
    assert again.steps > 3 and again.cost < first.cost
    whole = gd.fit(*moved(start, at), max_steps=6)
    assert_same_number(again.cost, whole.cost, 1e-4, 1e-12)


def test_a_checkpoint_of_the_cpu_is_resumed_on_the_device(device: torch.device, tmp_path: Path) -> None:
    start = net("vectors")
    gd.fit(*moved(start, CPU), max_steps=3, checkpoint=tmp_path)
    again = gd.fit(*moved(start, device), max_steps=6, checkpoint=tmp_path)
    assert_on(again.theta, device)
    assert again.steps > 3


def test_a_pickled_solution(device: torch.device) -> None:
    solution = gd.fit(*moved(net("vectors"), device), max_steps=3)
    printed = str(solution.certificate)
    back = pickle.loads(pickle.dumps(solution))
    assert torch.equal(back.theta, solution.theta) and str(back.certificate) == printed


def test_what_is_printed_and_drawn(device: torch.device) -> None:
    solution = gd.fit(*moved(net("vectors"), device), max_steps=3)
    assert len(str(solution)) > 50 and "Solution(" in repr(solution) and "<" in solution._repr_html_()
    path = gd.flow(*moved(net("vectors"), device), until=0.2, tol=1e-3)
    assert len(str(path)) > 50
    pytest.importorskip("matplotlib").use("Agg")
    assert solution.plot() is not None and path.plot() is not None


def test_a_model_that_moves_after_its_fit(device: torch.device) -> None:
    """The certificate is made when it is asked for, and the model is where the user has put it."""
    model, inputs, y = moved(net("vectors"), device)
    solution = gd.fit(model, inputs, y, max_steps=3)
    model.to("cpu", torch.float32)
    assert solution.certificate.rank is not None
    assert_on(next(model.parameters()), CPU)
    assert next(model.parameters()).dtype == torch.float32


def test_the_memory_that_is_free(device: torch.device) -> None:
    """It is the device's own; what torch keeps for its next tensors is free."""
    free = available_bytes(device)
    assert 0 < free < 2**44
    if device.type == "cuda":
        total = torch.cuda.mem_get_info(device)[1]
        held = torch.empty(total // 20, dtype=torch.uint8, device=device)
        del held
        assert torch.cuda.mem_get_info(device)[0] + total // 40 < available_bytes(device) <= total


def test_too_large_a_matrix_is_refused_by_the_memory_of_the_device(device: torch.device) -> None:
    model = torch.nn.Linear(1, 1, bias=False, dtype=F64, device=device)
    x = torch.ones(1, 1, dtype=F64, device=device).expand(3_000_000, 1)
    jacobian = gd.SampleMap(model, x, check=False).linearise()[1]
    with pytest.raises(gd.MemoryPlanError, match="the Gram matrix of 3000000 × 3000000 rows"):
        jacobian.gram()
