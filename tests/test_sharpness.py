"""Sharpness: what a small step takes off the error, and how it grows with depth."""

from typing import Any

import numpy as np
import pytest
import torch
from conftest import MakeRuns
from fathom.measurement import measured
from fathom.networks.stack import losses, rate, stack
from fathom.networks.tasks import drawn
from fathom.spec import Refused


def test_a_small_step_shrinks_the_error_by_the_share_that_sharpness_says(
    make_runs: MakeRuns,
) -> None:
    given: dict[str, Any] = {"family": "mlp", "log2_lr": -14, "task": "gaussian", "batch": 1}
    (run,) = make_runs(**given, depth=3, init_gain=2.0, base_width=1, base_depth=1)
    before, after = stack([run]), stack([run])
    x, y = (one[None] for one in drawn("gaussian", run.seed, 1, run.net.width))
    weights = [weight.requires_grad_() for weight in before.weights]
    outputs, _ = before(x)
    grads = torch.autograd.grad(losses(outputs, y).sum(), weights)
    for i, grad in enumerate(grads):
        after.weights[i].sub_(rate(run, before.model.layers[i].role) * grad)
    with torch.no_grad():
        moved, _ = after(x)
    share = 1 - float((moved - y) / (outputs - y).detach())
    (found,) = measured([run], "sharpness")
    assert found["sharpness"] == pytest.approx(share, rel=0.02)


def test_sharpness_of_several_outputs_is_refused(make_runs: MakeRuns) -> None:
    with pytest.raises(Refused, match="task digits: sharpness is that of one output"):
        measured(make_runs(family="mlp"), "sharpness")


def test_of_a_chain_it_grows_in_proportion_to_the_matrices(make_runs: MakeRuns) -> None:
    given: dict[str, Any] = {"family": "mlp", "task": "gaussian", "rules": "mup", "log2_lr": 0}
    given |= {"width": 256, "init_gain": 2.0, "base_width": 1, "base_depth": 1, "batch": 8}
    found = {}
    for depth in (3, 7):
        rows = measured(make_runs(**given, depth=depth, seed=list(range(6))), "sharpness")
        found[depth] = float(np.mean([row["sharpness"] for row in rows]))
    assert found[7] / found[3] == pytest.approx(8 / 4, rel=0.2)
