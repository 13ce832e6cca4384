"""What stands beside a rate that was carried deeper: what its rule cost, or why nobody knows."""

from typing import Any

import numpy as np
import pytest
from fathom import depth, law, store


@pytest.mark.parametrize(
    ("rule", "network", "measured"),
    [  # tables carry base rates: Depth-muP itself takes the root of depth off Adam's hidden rate
        ("depth_mup", "residual, Depth-muP, Adam", "constant"),
        (-0.5, "residual, Depth-muP, Adam", "constant"),
        (-1.5, "residual, Depth-muP, Adam", "inverse"),
        ("completep", "residual, CompleteP, Adam", "constant"),
        (-1.0, "chain, Adam", "inverse"),
        ("three_halves", "chain, SGD", "three_halves"),
    ],
)
def test_a_cost_is_that_of_the_rate_it_stands_beside(
    rule: str | float, network: str, measured: str
) -> None:
    found = depth.rate(-4.0, 6, 24, rule=rule, network=network)
    assert found.cost == law.regret(store.read, network, measured)
    assert found.cost is not None
    assert "carried from depth 3 to 6, " in str(found)


def test_a_rate_that_is_carried_far_has_the_cost_of_the_far_network_that_was_measured() -> None:
    near, far = (depth.rate(-4.0, 3, deep, rule="inverse") for deep in (24, 48))
    assert (near.network, far.network) == ("chain, SGD", "chain, 16 times deeper, SGD")
    assert near.cost == law.regret(store.read, near.network, "inverse")
    assert far.cost == law.regret(store.read, far.network, "inverse")
    assert "carried from depth 3 to 48" in str(far) and "carried further" not in str(far)
    beyond = str(depth.rate(-4.0, 3, 300, rule="inverse"))
    assert beyond.endswith("yours is carried further, 100 times as deep")
    unmeasured = depth.rate(-4.0, 3, 48, rule="all_paths")
    assert unmeasured.network == "residual, variance form, SGD"
    assert str(unmeasured).endswith("yours is carried further, 16 times as deep")


def test_beside_an_exponent_of_ones_own_stands_what_an_own_fit_cost_here() -> None:
    found = depth.rate(-4.0, 6, 24, rule=-1.2)
    assert found.rule == "own fit"
    assert found.cost == law.regret(store.read, "chain, SGD", "fitted")
    assert found.cost is not None
    assert found.cost.depths == (8, 12, 16, 24)
    assert "fitted there to depths up to 6 (-0.85 [-1.13, -0.58]) cost 0.030" in str(found)
    assert "yours itself was not tried" in str(found)


@pytest.mark.parametrize("exponent", [3.0, -0.5, -1.6, -9.0])
def test_an_exponent_far_from_ours_has_no_cost(exponent: float) -> None:
    found = depth.rate(-4.0, 6, 24, rule=exponent)
    assert found.cost is None
    assert "no cost is given" in str(found)
    assert "lie between -1.50 and -0.58 on chain, SGD (your network is taken" in str(found)


@pytest.mark.parametrize("network", ["chain, SGD", "ViT, norm after, SGD", "chain, Adam"])
def test_a_run_that_diverged_is_not_a_rate_that_was_never_trained(network: str) -> None:
    measured = law.regret(store.read, network, "constant")
    assert measured is not None
    cost = measured.regret.value
    assert np.isfinite(cost) == (network != "chain, SGD")
    said = f"it cost {cost:.3f} " if np.isfinite(cost) else "it diverged"
    assert said in str(depth.rate(-4.0, 6, 24, rule="constant", network=network))
    found = depth.rate(-4.0, 6, 24, rule="constant", network="chain, Adam")
    assert found.cost is not None
    unknown = found.cost._replace(regret=law.interval([float("nan")] * 2))
    assert "it lay outside of the rates" in str(found._replace(cost=unknown))


def test_a_cost_that_nobody_measured_is_not_given() -> None:
    on = "residual, variance form, SGD"
    assert depth.rate(-4.0, 6, 24, rule=-1.2, network=on).cost is None
    found = depth.rate(-4.0, 6, 24, rule="constant", network="residual, CompleteP, Adam")
    assert not found.assumed
    sizes: Any = np.int64(6), np.float32(24)
    guessed = depth.rate(-4.0, *sizes, rule="depth_mup")
    assert guessed.network == "residual, Depth-muP, SGD"
    assert "name network= if it is not" in str(guessed)
    assert depth.rate(-4.0, 6, 24, rule="all_paths").network == "residual, variance form, SGD"
    found = depth.rate(-4.0, 6, 24, rule="completep")
    assert found.cost is None
    assert "not measured on residual, CompleteP, SGD (your network" in str(found)
