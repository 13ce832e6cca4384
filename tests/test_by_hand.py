"""Networks written by hand with torch's own layers and optimizers have the same losses."""

import importlib
from typing import Any

import numpy as np
import pytest
import torch
from by_hand import Transformer, losses
from fathom.networks.layers import Vector
from fathom.networks.stack import stack
from fathom.networks.tasks import task
from fathom.paths import ROOT
from fathom.spec import Base, Net, Optim, Run
from fathom.training.train import train
from torch import Tensor, nn

ALL: dict[str, Any] = {"affine": True, "bias": True, "layer_scale": 0.5}
SETTINGS: list[dict[str, Any]] = [
    {},
    {"placement": "post"},
    {"placement": "none"},
    {"parallel": True},
    {"affine": True},
    {"bias": True},
    {"layer_scale": 0.5},
    ALL,
    {**ALL, "placement": "post"},
    {**ALL, "parallel": True},
    {**ALL, "placement": "post", "parallel": True},
]
FAMILIES: dict[str, dict[str, Any]] = {
    "lm": {"width": 32, "depth": 2, "phi": "gelu"},
    "vit": {"width": 32, "depth": 2, "phi": "gelu", "patch": 4},
}
STAGES: list[dict[str, Any]] = [
    {"order": "pre"},
    {"block_depth": 2, "norm": "layer", "affine": True, "bias": True},
    {"order": "pre", "norm": "batch", "kernel": 1, "phi": "abs"},
    {"order": "pre", "padding": "circular"},
]
GAMMA: list[dict[str, Any]] = [
    {"family": "resmlp", "width": 32, "depth": 4, "center": True, "gain": 0.5},
    {"family": "resconv", "width": 8, "depth": 4, "stages": 2, "order": "pre"},
]


def at_base(net: dict[str, Any], task: str = "digits", **optim: Any) -> Run:
    """A run at base size, where every weight has the same rate."""
    said = {"kind": "sgd", "log2_lr": -6, "batch": 16, "steps": 10} | optim
    if net["family"] == "lm":
        task, said["batch"] = "text", 2
    made = Net(**{"gain": 0.6, **net})
    base = Base(width=made.width, depth=made.depth)
    return Run(net=made, rules="depth_mup", base=base, optim=Optim(**said), task=task, seed=1)


def model_of(run: Run, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """The module by hand: a transformer of these tests, or a network of the bench."""
    about = task(run.task)
    if run.net.family in FAMILIES:
        return Transformer(run.net, about.inputs or 0, about.outputs)
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    families = importlib.import_module("loop").FAMILIES
    return families[run.net.family](run.net, about.inputs, about.outputs)


def apart(run: Run, model: nn.Module) -> float:
    """The largest difference between the losses of ten steps, over what they fall by."""
    start = [weight[0].clone() for weight in stack([run]).weights]
    ours, theirs = torch.from_numpy(train([run]).loss[0]), losses(model, run, start)
    return float((ours - theirs).abs().max() / (ours[0] - ours.min()))


@pytest.fixture
def vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gains and biases that begin apart from each other, so that each is seen in its place."""

    def begin(self: Vector, seed: int) -> Tensor:
        drawn = torch.randn(self.shape, generator=torch.Generator().manual_seed(seed))
        return self.start + 0.3 * drawn

    monkeypatch.setattr(Vector, "begin", begin)


@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_transformer_by_hand_has_the_same_losses(
    family: str, setting: dict[str, Any], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = {"family": family, **FAMILIES[family], **setting}
    run = at_base(net, kind=kind, log2_lr=-7 if kind == "adam" else -4)
    assert apart(run, model_of(run, monkeypatch)) < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_a_transformer_by_hand_with_another_setting_has_others(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = {"family": family, **FAMILIES[family]}
    run = at_base(net, kind="adam", log2_lr=-7)
    for other in ({"placement": "post"}, {"placement": "none"}, {"parallel": True}, {"gain": 0.61}):
        assert apart(run, model_of(at_base({**net, **other}), monkeypatch)) > 3e-3


@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("setting", STAGES, ids=str)
def test_three_stages_by_hand_have_the_same_losses(
    setting: dict[str, Any], momentum: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = {"family": "resconv", "width": 8, "depth": 6, "stages": 3, **setting}
    run = at_base(net, "fashion28", momentum=momentum)
    assert apart(run, model_of(run, monkeypatch)) < 1e-4


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_with_dropout_a_network_by_hand_has_the_same_losses(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers that are left out are drawn by run and step alone; those that stay grow."""
    net = {"family": "resconv", "width": 8, "depth": 4, "stages": 2, "order": "pre"}
    run = at_base({**net, "dropout": share})
    model = model_of(run, monkeypatch)
    step, draw = -1, torch.Generator()

    def begin(*_: object) -> None:
        nonlocal step, draw
        step += 1
        seeds = np.random.SeedSequence([run.seed, 2**20, step])
        draw = torch.Generator().manual_seed(int(seeds.generate_state(1)[0]))

    def left_out(self: nn.Module, block: nn.Module, h: Tensor) -> Tensor:
        z = h
        for one in block.children():
            z = one(torch.relu(z))
        kept = torch.rand(z.shape, generator=draw) >= share
        return h + run.net.gain * torch.where(kept, z / (1 - share), 0.0)

    model.register_forward_pre_hook(begin)
    monkeypatch.setattr(type(model), "added", left_out)
    assert apart(run, model) < 1e-4
    monkeypatch.undo()
    assert apart(run, model_of(run, monkeypatch)) > 1e-2


@pytest.mark.parametrize("gamma", [0.5, 3.0])
@pytest.mark.parametrize(("kind", "momentum"), [("sgd", 0.0), ("sgd", 0.9), ("adam", 0.0)])
@pytest.mark.parametrize("net", GAMMA, ids=lambda net: net["family"])
def test_with_a_gamma_0_networks_by_hand_have_the_same_losses(
    net: dict[str, Any], kind: str, momentum: float, gamma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output is divided by it once, the rate has its square once, and momentum none of it."""
    run = at_base({**net, "gamma_0": gamma}, kind=kind, momentum=momentum, log2_lr=-8)
    assert apart(run, model_of(run, monkeypatch)) < 1e-4
