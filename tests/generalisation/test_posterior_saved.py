"""Posteriors as dictionaries of tensors: there and back through a file, and what strangers may have done to one."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import geodescent as gd
from geodescent.generalisation import ClassPosterior, Posterior, TuningRecord, class_posterior_of, posterior_of
from geodescent.generalisation.posterior._network import drawn_layers, shapes_of_layers
from geodescent.generalisation.posterior._saved import SavedTensors

Tensors = dict[str, Tensor]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def regression(n_outputs: int = 1, n: int = 40) -> Posterior:
    x = drawn(n, 3)
    y = torch.stack([torch.sin((k + 1.0) * x[:, 0]) for k in range(n_outputs)], 1) + 0.3 * drawn(n, n_outputs, seed=1)
    x, y = torch.cat([x, x[:3]]), torch.cat([y, y[:3]])
    return posterior_of(x, y[:, 0] if n_outputs == 1 else y, torch.ones(n + 3, dtype=torch.float64), starts=2, seed=0)


def classes(n_classes: int, starts: int = 2) -> ClassPosterior:
    x = drawn(40, 3)
    labels = (x[:, 0] > 0.0).long() + (n_classes > 2) * (x[:, 1] > 0.7).long()
    return class_posterior_of(x, labels, torch.ones(40, dtype=torch.float64), seed=0, starts=starts)


def through_a_file(tensors: Tensors, folder: Path) -> Tensors:
    save_file(tensors, folder / "posterior.safetensors")
    return load_file(folder / "posterior.safetensors")


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_a_posterior_comes_back_from_a_file(n_outputs: int, tmp_path: Path) -> None:
    posterior, asked = regression(n_outputs), drawn(9, 3, seed=5)
    back = Posterior.from_tensors(through_a_file(posterior.tensors(), tmp_path))
    assert all(torch.equal(kept, back.tensors()[name]) for name, kept in posterior.tensors().items())
    torch.testing.assert_close(posterior.predict(asked), back.predict(asked), rtol=1e-12, atol=1e-14)
    assert torch.equal(posterior.left_out, back.left_out)
    assert posterior.left_out_rmse == pytest.approx(back.left_out_rmse, rel=1e-15)
    ours, theirs = posterior.standard_deviation(asked), back.standard_deviation(asked)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0.0)
    for ours, theirs in zip(posterior.interval(asked), back.interval(asked), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert back.tensors().keys() == posterior.tensors().keys()
    assert str(posterior).startswith(str(back))  # notes are left out
    assert torch.equal(back.scales, posterior.scales)
    assert back.rows_used == posterior.rows_used == 40


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_posterior_of_classes_comes_back_from_a_file(n_classes: int, tmp_path: Path) -> None:
    posterior, asked = classes(n_classes), drawn(9, 3, seed=5)
    back = ClassPosterior.from_tensors(through_a_file(posterior.tensors(), tmp_path))
    assert torch.equal(posterior.probabilities(asked), back.probabilities(asked))
    assert repr(back) == repr(posterior)
    assert torch.equal(back.scales, posterior.scales)
    assert back.rows_used == 40


def test_a_posterior_is_saved_and_loaded_by_its_path(tmp_path: Path) -> None:
    posterior, asked, path = regression(), drawn(9, 3, seed=5), tmp_path / "one"
    posterior.save(str(path))
    posterior.save(path)  # again, in the place of the first
    back = gd.Posterior.load(path)
    for ours, theirs in zip(posterior.interval(asked), back.interval(asked), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)  # sums in another order, by where they lie
    assert [found.name for found in tmp_path.iterdir()] == ["one"]
    path.write_text("no numbers")
    with pytest.raises(gd.InputError, match=r"one cannot be read .*no file of safetensors"):
        gd.Posterior.load(path)


def changed(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name: change(tensors[name])}


def with_nan(values: Tensor) -> Tensor:
    spoilt = values.clone()
    spoilt.view(-1)[0] = torch.nan
    return spoilt


SPOILT = {
    "a name lacks": (
        lambda tensors: {k: v for k, v in tensors.items() if k != "alone.noise"},
        r"lacks \['alone.noise'\]",
    ),
    "a name too many": (lambda tensors: tensors | {"more": torch.ones(1)}, "of all names"),
    "no tensors": (lambda tensors: {}, "'starts.left_out' is NoneType"),
    "float32": (changed("starts.solved", lambda t: t.float()), "torch.float32"),
    "shape": (changed("rows.y", lambda t: t[1:]), r"'rows.y' as torch.float64 of shape \(39, 1\)"),
    "network": (changed("network.2.weight", lambda t: t[:, 1:]), "network.2.weight"),
    "not finite": (changed("starts.solved", with_nan), "NaN or infinite"),
    "negative noise": (changed("numbers.noise", lambda t: -t), "not above 0"),
    "zero weights": (changed("rows.weights", torch.zeros_like), "not above 0"),
    "negative variance": (changed("starts.left_out_variance", lambda t: -t), "not above 0"),
    "places": (changed("rows.places", lambda t: t + 9), "outside of 0 to 39"),
    "picked": (changed("rows.picked", lambda t: t * 0), "picks rows twice"),
    "counts": (changed("ranks.counts", lambda t: t + 1), "counts"),
    "negative counts": (
        changed("ranks.counts", lambda t: torch.stack([t[0] + t[1] + 1, t[1] * 0 - 1, t[2]])),
        "counts",
    ),
    "ranks": (changed("ranks.values", lambda t: t.flip(0)), "do not rise"),
    "flat": (changed("flat", lambda t: t + 2**40), "flat"),
    "a number": (lambda tensors: tensors | {"flat": 1}, "'flat' as int"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_spoilt_dictionaries_are_refused(name: str) -> None:
    spoil, said = SPOILT[name]
    with pytest.raises(gd.InputError, match=said):
        Posterior.from_tensors(spoil(regression().tensors()))


SPOILT_CLASSES = {
    "no class": (changed("rows.targets", lambda t: t * 0.0), "rows without a class"),
    "half a class": (changed("rows.targets", lambda t: t * 0.5), "rows without a class"),
    "two latent functions": (changed("starts.dual", lambda t: t[:, :, :2]), "two latent functions"),
    "amplitude": (changed("amplitude", lambda t: t * torch.nan), "NaN or infinite"),
    "below 0": (changed("amplitude", lambda t: -t), "not above 0"),
    "slope": (changed("starts.slope", lambda t: t[:1]), "starts.slope"),
}


@pytest.mark.parametrize("name", SPOILT_CLASSES)
def test_spoilt_dictionaries_of_classes_are_refused(name: str) -> None:
    spoil, said = SPOILT_CLASSES[name]
    with pytest.raises(gd.InputError, match=said):
        ClassPosterior.from_tensors(spoil(classes(3, starts=2).tensors()))


def test_more_rows_than_are_ever_used_are_refused() -> None:
    """Before anything is made of them: all of these tensors are views of one number."""
    tensors = regression().tensors()
    for name in ("starts.left_out", "starts.solved"):
        tensors[name] = torch.zeros(1, dtype=torch.float64).expand(2, 10**9, 1)
    with pytest.raises(gd.InputError, match="1000000000 rows, and never more than 20000"):
        Posterior.from_tensors(tensors)


def test_the_shapes_of_a_network_are_known_without_making_it() -> None:
    found = {name: tuple(values.shape) for name, values in drawn_layers(7, 0).state_dict().items()}
    assert shapes_of_layers(7) == found


def test_what_would_not_fit_into_memory_is_refused() -> None:
    """A small file may ask for much: of many starts with one row each, or of many classes."""
    with pytest.raises(gd.MemoryPlanError, match="1000000 starts, 20000 rows"):
        SavedTensors.require_memory(10**6, 20_000, 3, 0)


def test_the_search_for_the_numbers_is_recorded() -> None:
    x, seen = drawn(40, 2), list[TuningRecord]()
    weights = torch.ones(40, dtype=torch.float64)
    posterior = posterior_of(x, x[:, 0] + 0.1 * x[:, 1] ** 2, weights, starts=1, seed=0, callback=seen.append)
    assert list(posterior.history) == seen
    assert len(seen) > 10
    assert seen[-1].noise == pytest.approx(posterior.noise)
    assert all(a.seconds <= b.seconds for a, b in pairwise(seen))
    assert seen[-1].cost < seen[0].cost
    assert len(classes(2, starts=1).history) > 3


def test_what_a_callback_raises_ends_the_search() -> None:
    def interrupt(record: TuningRecord) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        posterior_of(drawn(20, 2), drawn(20), torch.ones(20, dtype=torch.float64), starts=1, seed=0, callback=interrupt)
