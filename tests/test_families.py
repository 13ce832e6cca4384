import pytest
import torch
from conftest import MakeRuns
from fathom.networks.families import build
from fathom.networks.layers import Linear, center, layer_norm
from fathom.networks.stack import Stack, losses, stack
from fathom.networks.tasks import HELD_OUT, task
from fathom.spec import RULES, Run
from torch import Tensor


def first_digits(count: int = 8) -> Tensor:
    return task("digits").x[:count].unsqueeze(0)


def units_of(runs: list[Run]) -> Tensor:
    """The mean square of every unit at initialisation, averaged over runs."""
    x = first_digits().expand(len(runs), -1, -1)
    return torch.stack([unit.square().mean() for unit in stack(runs)(x)[1]])


def test_a_chain_is_an_input_matrix_blocks_and_a_readout(make_runs: MakeRuns) -> None:
    net = make_runs(family="mlp", width=48, depth=3)[0].net
    block = Linear("block", 48, 48)
    assert build(net, 64, 10).layers == (
        Linear("input", 64, 48),
        block,
        block,
        Linear("readout", 48, 10),
    )


def test_an_input_as_wide_as_the_chain_makes_its_matrix_a_block(make_runs: MakeRuns) -> None:
    net = make_runs(family="mlp", width=48, depth=1)[0].net
    assert build(net, None, 1).layers == (Linear("block", 48, 48), Linear("readout", 48, 1))


def test_a_residual_net_is_a_stem_blocks_and_a_readout(make_runs: MakeRuns) -> None:
    net = make_runs(width=48, depth=2)[0].net
    block = Linear("block", 48, 48)
    assert build(net, 64, 10).layers == (
        Linear("input", 64, 48),
        block,
        block,
        Linear("readout", 48, 10),
    )


def test_a_branch_of_two_layers_tells_them_apart(make_runs: MakeRuns) -> None:
    net = make_runs(width=48, depth=3, block_depth=2)[0].net
    roles = [layer.role for layer in build(net, 64, 10).layers]
    assert roles == ["input", *["block:1", "block:2"] * 3, "readout"]


def test_units_are_preactivations_of_a_chain_and_the_stream_of_a_residual_net(
    make_runs: MakeRuns,
) -> None:
    for family, block_depth in (("mlp", 1), ("resmlp", 1), ("resmlp", 2)):
        nets = stack(make_runs(family=family, depth=5, block_depth=block_depth, seed=[1, 2, 3]))
        output, units = nets(first_digits().expand(3, -1, -1))
        assert output.shape == (3, 8, 10)
        assert [unit.shape for unit in units] == [(3, 8, 16)] * 5


def plain_chain(nets: Stack, x: Tensor) -> Tensor:
    z, *rest = [weight[0] for weight in nets.weights]
    h = x @ z
    for weight in rest:
        h = torch.relu(h) @ weight
    return h


def plain_residual(nets: Stack, x: Tensor, branch: float) -> Tensor:
    """The residual net of one run, written down again without layers, roles or stacks."""
    net = nets.runs[0].net
    stem, *blocks, readout = [weight[0] for weight in nets.weights]
    stream = x @ stem
    for start in range(0, len(blocks), net.block_depth):
        h = stream
        if net.norm == "layer":
            h = (h - h.mean(1, keepdim=True)) / (h.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
        for weight in blocks[start : start + net.block_depth]:
            h = torch.tanh(h) @ weight if net.order == "pre" else torch.tanh(h @ weight)
        if net.center:
            h = h - h.sum(1, keepdim=True) / net.width
        stream = stream + branch * h
    return (torch.tanh(stream) if net.order == "pre" else stream) @ readout


def test_the_chain_is_the_function_of_the_papers(make_runs: MakeRuns) -> None:
    nets = stack(make_runs(family="mlp", depth=4, rules="mup", base_depth=1))
    torch.testing.assert_close(nets(first_digits())[0][0], plain_chain(nets, first_digits()[0]))


@pytest.mark.parametrize("block_depth", [1, 2])
@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize(("order", "centered"), [("post", True), ("post", False), ("pre", False)])
def test_the_residual_net_is_the_function_of_the_papers(
    make_runs: MakeRuns, order: str, centered: bool, norm: str, block_depth: int
) -> None:
    changes = {"order": order, "center": centered, "norm": norm, "block_depth": block_depth}
    nets = stack(make_runs(**changes, phi="tanh", depth=6, base_depth=2, gain=1.5))
    found = nets(first_digits())[0][0]
    torch.testing.assert_close(found, plain_residual(nets, first_digits()[0], 1.5 / 3**0.5))
    assert (found - plain_residual(nets, first_digits()[0], 1.5)).abs().max() > 0.01


def test_center_takes_the_mean_over_the_width_and_nothing_else() -> None:
    h = torch.tensor([[[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]]])
    assert center(h).tolist() == [[[-2.0, -1.0, 3.0], [-1.0, -1.0, 2.0]]]


def test_layer_norm_leaves_mean_zero_and_variance_one_over_the_width() -> None:
    h = layer_norm(torch.randn(2, 3, 256, generator=torch.Generator().manual_seed(0)) * 5 + 2)
    torch.testing.assert_close(h.mean(-1), torch.zeros(2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(h.var(-1, correction=0), torch.ones(2, 3))


def growth(make_runs: MakeRuns, **changes: object) -> float:
    """The last block's mean square over the first's, at 64 blocks."""
    sizes = units_of(make_runs(**changes, depth=64, base_depth=1, width=64, seed=[1, 2]))
    return float(sizes[-1] / sizes[0])


def test_the_stream_stays_bounded_in_depth_under_depth_mup(make_runs: MakeRuns) -> None:
    assert growth(make_runs, order="pre") < 4
    assert growth(make_runs, order="post", center=True) < 4


def test_the_stream_grows_with_depth_under_mup(make_runs: MakeRuns) -> None:
    assert growth(make_runs, order="pre", rules="mup") > 1e6
    assert growth(make_runs, order="post", center=True, rules="mup") > 1e6


def test_without_mean_subtraction_relu_branches_add_up_even_under_depth_mup(
    make_runs: MakeRuns,
) -> None:
    assert growth(make_runs, order="post", center=False) > 30


def test_a_relu_chain_keeps_its_second_moment_at_gain_two(make_runs: MakeRuns) -> None:
    changes = {"family": "mlp", "rules": "sp", "width": 512, "base_width": 512, "depth": 16}
    sizes = units_of(make_runs(**changes, init_gain=2.0, seed=[1, 2, 3, 4]))
    assert 0.5 < sizes[-1] / sizes[0] < 2


def test_a_relu_chain_loses_its_second_moment_at_gain_one(make_runs: MakeRuns) -> None:
    changes = {"family": "mlp", "rules": "sp", "width": 512, "base_width": 512, "depth": 16}
    sizes = units_of(make_runs(**changes, init_gain=1.0, seed=[1, 2, 3, 4]))
    assert sizes[-1] / sizes[0] == pytest.approx(2.0**-15, rel=0.7)


def test_weights_have_the_variance_of_their_rule(make_runs: MakeRuns) -> None:
    # gain / inputs; gain / base, over m_N = 16; 1 / base without the gain, over m_N^2
    changes = {"width": 256, "base_width": 16, "rules": "mup", "init_gain": 2.0}
    weights = stack(make_runs(**changes, depth=1)).weights
    found = [float(weight.var()) for weight in weights]
    assert found == pytest.approx([2 / 64, 2 / 16 / 16, 1 / 16 / 16**2], rel=0.1)


def test_one_seed_starts_all_rates_and_rules_from_the_same_weights(make_runs: MakeRuns) -> None:
    for weight in stack(make_runs(rules=list(RULES), log2_lr=[-4, 0], seed=1)).weights:
        assert (weight == weight[0]).all()


def test_another_seed_starts_from_other_weights_and_batches(make_runs: MakeRuns) -> None:
    for weight in stack(make_runs(seed=[1, 2])).weights:
        assert (weight[0] != weight[1]).all()
    assert (task("digits").batches(1, 16, 4) != task("digits").batches(2, 16, 4)).any()


def test_a_block_is_drawn_alike_at_every_depth(make_runs: MakeRuns) -> None:
    shallow, deep = (stack(make_runs(rules="mup", depth=depth)).weights for depth in (2, 5))
    assert all(torch.equal(a, b) for a, b in zip(shallow[:3], deep[:3], strict=True))
    assert torch.equal(shallow[-1], deep[-1])
    assert not torch.equal(deep[1], deep[2])


def test_batches_are_the_same_for_any_number_of_steps() -> None:
    few, many = (task("digits").batches(1, 32, steps) for steps in (3, 200))
    assert torch.equal(few, many[:3])


def test_batches_are_passes_over_what_is_not_held_out() -> None:
    order = task("digits").batches(1, 1, 2 * (1797 - HELD_OUT)).flatten()
    for one in order.chunk(2):
        assert sorted(one.tolist()) == list(range(1797 - HELD_OUT))
    assert not torch.equal(*order.chunk(2))


def test_losses_are_those_of_torch() -> None:
    outputs = torch.randn(2, 8, 10, generator=torch.Generator().manual_seed(0))
    classes = torch.arange(16).reshape(2, 8) % 10
    mean = [torch.nn.functional.cross_entropy(o, y) for o, y in zip(outputs, classes, strict=True)]
    torch.testing.assert_close(losses(outputs, classes), torch.stack(mean))
    squared = (outputs**2).sum(-1).mean(-1) / 2
    torch.testing.assert_close(losses(outputs, torch.zeros(2, 8, 10)), squared)
