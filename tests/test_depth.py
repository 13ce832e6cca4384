"""Effective depth of drawn graphs: worked examples, folding, bad input, rates."""

import math
from itertools import pairwise
from typing import Any

import networkx as nx
import pytest
from fathom import depth
from fathom.law.formula import finite_depth
from fathom.spec import Refused


def drawn(kinds: dict[Any, str], *edges: tuple[Any, Any]) -> nx.DiGraph:
    graph = nx.DiGraph(edges)
    nx.set_node_attributes(graph, kinds, "kind")
    return graph


def chain(layers: int) -> nx.DiGraph:
    """An input, layers with a nonlinearity behind each, a read-out."""
    kinds: dict[Any, str] = {"x": "input"}
    for i in range(layers):
        kinds |= {f"W{i}": "layer", f"phi{i}": "activation"}
    kinds |= {"V": "layer", "f": "output"}
    return drawn(kinds, *pairwise(kinds))


def residual(blocks: int, inside: int = 1, stem: bool = False) -> nx.DiGraph:
    """x = x + F(x), so many times, with so many layers in each F; then a read-out."""
    kinds: dict[Any, str] = {"x": "input"}
    edges: list[tuple[Any, Any]] = []
    stream = "x"
    if stem:
        kinds["stem"], stream = "layer", "stem"
        edges.append(("x", "stem"))
    for block in range(blocks):
        branch = [stream]
        for i in range(inside):
            branch += [f"W{block}.{i}", f"phi{block}.{i}"]
            kinds |= {branch[-2]: "layer", branch[-1]: "activation"}
        kinds[f"+{block}"] = "addition"
        edges += [*pairwise([*branch, f"+{block}"]), (stream, f"+{block}")]
        stream = f"+{block}"
    kinds |= {"V": "layer", "f": "output"}
    return drawn(kinds, *edges, (stream, "V"), ("V", "f"))


def both(graph: nx.DiGraph, **said: Any) -> tuple[int, int]:
    found = depth.effective_depth(graph, **said)
    return found.value, found.other


@pytest.mark.parametrize("layers", [1, 4, 30])
def test_a_chain_is_as_deep_as_its_layers_without_the_readout(layers: int) -> None:
    assert both(chain(layers)) == (layers, layers)
    assert both(chain(layers), readout=True) == (layers + 1, layers + 1)


@pytest.mark.parametrize("inside", [1, 2, 3])
def test_blocks_count_once_however_many_layers_they_bypass(inside: int) -> None:
    assert both(residual(8, inside)) == (8, 8 * inside)
    assert both(residual(8, inside, stem=True)) == (8, 8 * inside)
    assert both(residual(8, inside, stem=True), stem=True) == (9, 8 * inside + 1)
    assert depth.effective_depth(residual(8, inside, stem=True)).convention.offset == 1


def test_the_result_names_its_units_and_its_convention() -> None:
    found = depth.effective_depth(residual(3, stem=True))
    assert found.units == ("+0", "+1", "+2")
    assert found.convention.name == "shortest"
    assert found.convention.stem == "stem, not counted"
    assert found.convention.readout == "V, not counted"
    chained = depth.effective_depth(residual(2, 2), convention="sequential")
    assert (chained.value, chained.other) == (4, 2)
    assert chained.units == ("W0.0", "W0.1", "W1.0", "W1.1")
    assert "2 by the shortest path; 4 by layers one after another" in str(chained)


def block(*branches: list[str], merge: str) -> nx.DiGraph:
    """Two layers, then branches of these kinds from the second to a merge, then a read-out."""
    kinds = {"x": "input", "A": "layer", "a": "activation", "B": "layer", "b": "activation"}
    edges = [*pairwise(kinds)]
    for i, branch in enumerate(branches):
        names = [f"{i}.{place}" for place in range(len(branch))]
        kinds |= dict(zip(names, branch, strict=True))
        edges += [*pairwise(["b", *names, "m"])]
    kinds |= {"m": merge, "V": "layer", "f": "output"}
    return drawn(kinds, *edges, ("m", "V"), ("V", "f"))


LAYER, CURVED = ["layer", "activation"], ["layer", "activation", "layer"]


@pytest.mark.parametrize(
    ("merge", "branches", "shortest", "chain"),
    [
        ("addition", [[], CURVED], 2, 3),  # a residual block; the first of the two layers is stem
        ("addition", [["layer"], CURVED], 2, 3),  # behind a projection
        (
            "addition",
            [["identity", "layer"], LAYER],
            2,
            2,
        ),  # as the first block of arXiv 2510.04327
        ("addition", [LAYER, CURVED], 3, 4),  # nothing bypasses a layer: no residual addition
        ("addition", [[], ["activation"]], 2, 2),  # x + phi(x): nothing to update
        ("addition", [[], CURVED, CURVED], 2, 3),  # parallel attention and MLP
        ("concatenation", [LAYER, CURVED], 2, 3),  # Inception: the shortest branch; no stem? it has
        ("concatenation", [[], CURVED], 1, 3),  # DenseNet: the identity
        ("product", [[], CURVED], 2, 4),  # a gate
        ("product", [LAYER, LAYER], 3, 3),  # attention of separate matrices
    ],
)
def test_merges_count_as_written_down(
    merge: str, branches: list[list[str]], shortest: int, chain: int
) -> None:
    assert both(block(*branches, merge=merge)) == (shortest, chain)


def test_a_sum_of_three_is_one_addition() -> None:
    kinds = {"x": "input", "A": "layer", "B": "layer", "s": "addition", "t": "addition"}
    edges = [("x", "A"), ("x", "B"), ("A", "s"), ("B", "t"), ("s", "t"), ("t", "f")]
    graph = drawn(kinds | {"f": "output"}, *edges, ("x", "s"))
    assert both(graph) == (1, 1)


def test_of_several_inputs_the_farthest_decides() -> None:
    graph = residual(3)
    graph.add_node("y", kind="input")
    graph.add_edge("y", "W2.0")
    found = depth.effective_depth(graph)
    assert found.starts == (("x", 3), ("y", 2))
    assert found.value == 3


# ---- folded


def test_repeated_blocks_fold() -> None:
    first, last = depth.fold(residual(12, 2))
    assert (first.times, len(first.parts)) == (12, 1)
    assert first.parts[0].branches == ((2, ""),)
    assert last.parts[0].role == "read-out"
    assert [one.times for one in depth.fold(chain(5))] == [5, 1]


# ---- bad input


def cyclic() -> nx.DiGraph:
    graph = chain(2)
    graph.add_edge("phi1", "W0")
    return graph


def apart() -> nx.DiGraph:
    graph = chain(2)
    graph.remove_edge("x", "W0")
    return graph


def split() -> nx.DiGraph:
    graph = chain(2)
    graph.add_edge("phi0", "f")
    return graph


@pytest.mark.parametrize(
    ("graph", "sentence"),
    [
        (cyclic(), "cycle .*W0 -> phi0 -> W1 -> phi1 -> W0.*unroll it"),
        (apart(), "output does not depend on the input.*check the edges"),
        (split(), "two outputs: 2 edges lead to f; keep the one"),
        (drawn({"x": "inputs"}, ("x", "x")), "did you mean input"),
        (drawn({"x": "input", "a": "layer"}, ("x", "a")), "0 nodes of kind output; give it one"),
        (drawn({"a": "layer", "f": "output"}, ("a", "f")), "no node of kind input"),
        (nx.Graph(), "networkx DiGraph; found Graph"),
    ],
)
def test_what_is_wrong_with_a_graph_is_said_in_a_sentence(graph: Any, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        depth.effective_depth(graph)


def test_an_unknown_convention_is_refused() -> None:
    with pytest.raises(Refused, match="did you mean shortest"):
        depth.effective_depth(chain(1), convention="shortes")


# ---- rates


@pytest.mark.parametrize(
    ("rule", "optimizer", "octaves", "exponent"),
    [
        ("three_halves", "sgd", -3.0, -1.5),
        ("inverse", "sgd", -2.0, -1.0),
        ("constant", "adam", 0.0, 0.0),
        ("depth_mup", "sgd", 0.0, 0.0),
        ("depth_mup", "adam", -1.0, -0.5),
        ("completep", "adam", 0.0, 0.0),
        ("completep", "sgd", 2.0, 1.0),
        (-1.2, "sgd", -2.4, -1.2),
    ],
)
def test_powers_move_a_rate_by_their_exponent(
    rule: str | float, optimizer: str, octaves: float, exponent: float
) -> None:
    found = depth.rate(-4.0, 6, 24, rule=rule, optimizer=optimizer)
    assert found.log2_lr == pytest.approx(-4 + octaves)
    assert found.exponent == exponent
    assert found.said


def test_the_finite_formula_is_flatter_than_its_limit_and_all_paths_steeper() -> None:
    finite = depth.rate(0.0, 3, 30, rule="finite_depth")
    assert 2**finite.log2_lr == pytest.approx(float(finite_depth(30) / finite_depth(3)))
    assert 2**finite.log2_lr == pytest.approx(0.0424, abs=5e-5)  # the specification, 4.3
    assert finite.exponent is None
    paths = depth.rate(0.0, 3, 30, rule="all_paths")
    sums = [depth.path_counts(residual(blocks)).cubes for blocks in (3, 30)]
    assert paths.log2_lr == pytest.approx(math.log2(sums[0] / sums[1]) / 2)
    assert paths.log2_lr < -10


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"shallow": 8, "deep": 8}, "both 8.*two different depths"),
        ({"shallow": 16, "deep": 8}, "reversed.*swap them"),
        ({"shallow": 0, "deep": 8}, "shallow 0 is no depth"),
        ({"shallow": 1, "deep": math.nan}, "deep nan is no depth"),
        ({"log2_lr": math.inf}, "not a finite number"),
        ({"rule": "three_halfs"}, "did you mean three_halves"),
        ({"rule": math.nan}, "no exponent; give a number such as -1.5"),
        ({"rule": "depth_mup", "optimizer": "adamw"}, "did you mean adam"),
        ({"network": "tree"}, "network 'tree' is not one of .*; chain, SGD; "),
        ({"network": "chain, Adam", "optimizer": "sgd"}, "is not that of network chain, Adam"),
        ({"network": "chain, Adam", "rule": "depth_mup"}, "was not measured on chain, Adam"),
    ],
)
def test_what_is_wrong_with_a_rate_is_said_in_a_sentence(
    said: dict[str, Any], sentence: str
) -> None:
    given: dict[str, Any] = {"log2_lr": -4.0, "shallow": 4, "deep": 8, "rule": "inverse", **said}
    with pytest.raises(Refused, match=sentence):
        depth.rate(given.pop("log2_lr"), given.pop("shallow"), given.pop("deep"), **given)
