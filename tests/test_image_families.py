"""Families of images and transformers' blocks: against modules written by hand, stack by stack,
and what is refused."""

import importlib
from typing import Any

import pytest
import torch
from fathom.networks.layers import Vector
from fathom.networks.stack import rate, stack
from fathom.paths import ROOT
from fathom.spec import Base, Net, Optim, Refused, Run, grid
from fathom.training.train import train

CONV: dict[str, Any] = {"width": 16, "depth": 3}
# Digits are too small for three stages.
TWO: dict[str, Any] = {"family": "resconv", "width": 16, "depth": 6, "stages": 2}
VIT: dict[str, Any] = {"family": "vit", "width": 32, "depth": 2, "phi": "gelu", "patch": 4}
BY_HAND: list[dict[str, Any]] = [
    {**TWO, "order": "pre"},
    {"family": "resconv", **CONV, "stages": 1, "block_depth": 2, "norm": "layer", "affine": True},
    {**TWO, "order": "pre", "norm": "batch", "bias": True},
    {**TWO, "kernel": 1, "phi": "abs"},
    {"family": "cnn", **CONV, "kernel": 5, "init_gain": 2.0},
    {"family": "cnn", **CONV, "padding": "circular", "bias": True, "norm": "layer"},
    {"family": "cnn", **CONV, "kernel": 4},
    {"family": "cnn", **CONV, "kernel": 2, "padding": "circular"},
    {**TWO, "order": "pre", "stages": 1, "padding": "circular"},
    VIT,
    {**VIT, "placement": "post", "depth": 3},
    {**VIT, "placement": "none", "parallel": True},
]
STACKED = [
    *BY_HAND,
    {**TWO, "width": 8, "norm": "layer", "dropout": 0.2, "affine": True},
    {**TWO, "width": 24, "norm": "batch", "affine": True},
    {"family": "cnn", **CONV, "kernel": 4, "phi": "gelu", "dropout": 0.1},
    {**VIT, "affine": True, "bias": True, "layer_scale": 0.1, "dropout": 0.1},
    {**VIT, "affine": True, "placement": "post", "parallel": True, "layer_scale": 1.0},
]


def runs_of(
    net: dict[str, Any], count: int = 1, rules: str = "depth_mup", **optim: Any
) -> list[Run]:
    said = {"kind": "sgd", "log2_lr": -8, "batch": 16, "steps": 10} | optim
    if net["family"] == "vit" and "kind" not in optim:
        said |= {"kind": "adam"}
    base = Base(width=net["width"], depth=net["depth"])
    return [
        Run(net=Net(**net), rules=rules, base=base, optim=Optim(**said), task="digits", seed=seed)
        for seed in range(1, 1 + count)
    ]


def named(net: dict[str, Any]) -> str:
    return " ".join(map(str, net.values()))


LOOP = [(net, momentum) for net in BY_HAND for momentum in (0.0, 0.9)]


@pytest.mark.parametrize(
    ("net", "momentum"), [one for one in LOOP if not (one[1] and one[0]["family"] == "vit")]
)
def test_a_module_written_by_hand_has_the_same_losses(
    net: dict[str, Any], momentum: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    loop = importlib.import_module("loop")
    branches = {} if net["family"] == "cnn" else {"gain": net["depth"] ** -0.5}
    (run,) = runs_of(net | branches, momentum=momentum)
    nets = stack([run])
    assert {rate(run, layer.role) for layer in nets.model.layers} == {2.0**-8}
    start = [weight[0].clone() for weight in nets.weights]
    theirs = torch.tensor(loop.train(run, 10, start))
    ours = torch.from_numpy(train([run]).loss[0]).float()
    torch.testing.assert_close(ours, theirs, rtol=3e-4, atol=1e-5)
    assert ours[0] != ours[9]


@pytest.mark.parametrize("net", STACKED, ids=named)
def test_a_run_has_its_bits_whatever_is_stacked_beside_it(net: dict[str, Any]) -> None:
    runs = runs_of(net, 4, steps=3)
    together = train(runs)
    for few in ([0], [1, 2], [3, 0, 1]):
        apart = train([runs[i] for i in few])
        assert (apart.loss == together.loss[few]).all()
        assert (apart.held_out == together.held_out[few]).all()


def test_dropout_draws_anew_in_every_step_and_run_and_leaves_out_its_share() -> None:
    net = {**TWO, "dropout": 0.25}
    from fathom.training.autograd import Dropout

    nets = stack(runs_of(net, 2))
    dropout = Dropout(nets, 0.25)
    block = next(i for i, layer in enumerate(nets.model.layers) if layer.role == "block")
    h = torch.ones(2, 16, 16, 4, 4)
    seen = []
    for step in (0, 1, 0):
        dropout.begin(step)
        seen.append(dropout.apply(block, h) == 0)
    assert (seen[0] == seen[2]).all() and (seen[0] != seen[1]).any()
    assert (seen[0][0] != seen[0][1]).any()
    assert abs(float(seen[0].float().mean()) - 0.25) < 0.02


def test_what_is_held_out_is_seen_without_dropout() -> None:
    net = TWO
    plain, dropped = (
        train(runs_of({**net, **more}), steps=0).held_out[0] for more in ({}, {"dropout": 0.5})
    )
    assert plain == dropped


def test_at_a_large_gamma_0_features_move_more_at_the_same_pace_of_the_output() -> None:
    moves = []
    for gamma in (0.25, 4.0):
        runs = runs_of({"family": "resmlp", "width": 256, "depth": 3, "gamma_0": gamma}, log2_lr=-9)
        x = torch.randn(1, 8, 64, generator=torch.Generator().manual_seed(1))
        before, after = stack(runs)(x), train(runs, steps=2).nets(x)
        moves.append(
            [
                float((b - a).norm())
                for a, b in ((before[0], after[0]), (before[1][-1], after[1][-1]))
            ]
        )
    (output, hidden), (output_4, hidden_4) = moves
    assert 0.3 < output_4 / output < 3 and hidden_4 / hidden > 8


def test_vectors_begin_as_gains_of_one_and_biases_of_nought() -> None:
    nets = stack(runs_of({**VIT, "affine": True, "bias": True, "layer_scale": 0.1}))
    starts = {
        float(weight.unique())
        for layer, weight in zip(nets.model.layers, nets.weights, strict=True)
        if isinstance(layer, Vector)
    }
    assert {round(start, 6) for start in starts} == {0.0, 0.1, 1.0}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"family": "vit", "width": 24}, "width 24 is not a multiple of 16, the width of a head"),
        ({"family": "vit", "patch": 3}, "patch 3 does not divide the 8 pixels"),
        ({"family": "cnn", "kernel": 9}, "there are 8 pixels a side; with zeros padding give 8 at"),
        ({**TWO, "kernel": 5}, "kernel 5 is too large: of task digits the last stage sees 2"),
        ({**TWO, "kernel": 3, "padding": "circular"}, "with circular padding give 2 at most"),
        ({"family": "resconv", "task": "fashion7"}, "the last stage has 1 left"),
        ({"family": "resconv", "depth": 4}, "depth 4 is not a multiple of 3, the number of stages"),
        ({"family": "vit", "layer_scale": 0.0}, "layer_scale is a finite number above 0"),
        ({"family": "cnn", "gamma_0": 1e200}, "gamma_0 is a number above 0, at most 1e9"),
        ({"family": "cnn", "dropout": 1.0}, "dropout is a share of at least 0 and below 1"),
        ({"family": "cnn", "norm": "batch", "batch": 1}, "nothing to average in a batch of 1"),
        ({"family": "cnn", "task": "digits_sum"}, "task digits_sum has no images"),
        ({"family": "vit", "width": 32, "task": "text"}, "task text is not for family vit"),
        ({"family": "resmlp", "kernel": 5}, "kernel is a setting of cnn, resconv that family"),
        ({"family": "resmlp", "norm": "batch"}, "norm batch is for cnn and resconv"),
        ({"family": "vit", "placement": "none", "affine": True}, "there is no norm"),
        ({"family": "cnn", "kind": "adam", "momentum": 0.9}, "momentum 0.9 is for kind sgd"),
        ({"family": "cnn", "momentum": 1.0}, "momentum is a share of at least 0 and below 1"),
        ({"family": "cnn", "padding": "same"}, "is not one of zeros, circular"),
        ({"family": "lm", "stages": 2}, "stages is a setting of resconv that family lm"),
    ],
)  # fmt: skip
def test_bad_input_gets_a_sentence(change: dict[str, Any], says: str) -> None:
    said: dict[str, Any] = {
        "net": {"family": "cnn", "width": 16, "depth": 3},
        "optim": {"kind": "sgd", "log2_lr": -5, "batch": 16, "steps": 10},
        "base": {"width": 16, "depth": 3},
        "rules": "mup",
        "task": "digits",
        "seed": 1,
    }
    for name, value in change.items():
        net, optim = name in Net.model_fields, name in Optim.model_fields
        (said["net"] if net else said["optim"] if optim else said)[name] = value
    with pytest.raises(Refused, match=r"^entry") as found:
        grid(said)
    assert says in str(found.value)
