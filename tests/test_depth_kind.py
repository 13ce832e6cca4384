"""The kind of network that a trace shows, and what a rule cost on it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import MakeRuns
from fathom import depth, law
from fathom.depth.build import graph_of
from fathom.depth.capture import Chosen, evaluating
from fathom.depth.graph import counted
from fathom.depth.kind import kind_of
from fathom.depth.trace import one_output
from fathom.depth.watch import watched
from test_depth_models import of_ours, traced
from torch import Tensor, nn

IMAGE, ROWS = torch.zeros(2, 3, 8, 8), torch.zeros(2, 16)
TOKENS, SEQUENCE = torch.zeros(2, 5, dtype=torch.int64), torch.zeros(2, 5, 16)
Make = Callable[[int], nn.Module]


class Added(nn.Module):
    """x + f(x)."""

    def __init__(self, *branch: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class Written(nn.Module):
    """A norm of mean squares, written out."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


class Patches(nn.Module):
    """Patches of an image as a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.stem(x).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Softmax attention of one head, written out; its value is what it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x) for layer in self.layers)
        return torch.softmax(q @ k.mT, -1) @ v


def convolutions(layers: int) -> nn.Module:
    chain = [one for _ in range(layers) for one in (nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())]
    return nn.Sequential(*chain, nn.Flatten(), nn.Linear(192, 2))


def resnet(blocks: int, *norm: nn.Module) -> nn.Module:
    parts = [Added(nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), *norm) for _ in range(blocks)]
    return nn.Sequential(nn.Conv2d(3, 8, 3), *parts, nn.Flatten(), nn.Linear(288, 2))


def chain(layers: int, *norm: nn.Module) -> nn.Module:
    parts = [one for _ in range(layers) for one in (nn.Linear(16, 16), *norm, nn.ReLU())]
    return nn.Sequential(*parts, nn.Linear(16, 2))


def residual(blocks: int) -> nn.Module:
    parts = [Added(nn.ReLU(), nn.Linear(16, 16)) for _ in range(blocks)]
    return nn.Sequential(nn.Linear(16, 16), *parts, nn.Linear(16, 2))


def encoder(layers: int, before: bool, last: bool = False) -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=before)
    norm = nn.LayerNorm(16) if last else None
    inner = nn.TransformerEncoder(layer, layers, norm, enable_nested_tensor=False)
    return nn.Sequential(inner, nn.Linear(16, 4))


def words(layers: int, before: bool) -> nn.Module:
    return nn.Sequential(nn.Embedding(8, 16), encoder(layers, before))


def written(layers: int, *, inside: bool = False) -> nn.Module:
    norms = (), (Written(),)
    branches = [one for _ in range(layers) for one in (Attention(), nn.Linear(16, 16))]
    parts = [Added(*norms[not inside], one, *norms[inside]) for one in branches]
    return nn.Sequential(*parts, Written(), nn.Linear(16, 2))


NETWORKS: dict[str, tuple[Make, Tensor, str]] = {
    "chain": (chain, ROWS, "chain"),
    "batch norms": (lambda n: chain(n, nn.BatchNorm1d(16)), ROWS, "chain, with norms"),
    "norms written out": (lambda n: chain(n, Written()), ROWS, "chain, with norms"),
    "residual": (residual, ROWS, "residual"),
    "patches": (lambda n: nn.Sequential(Patches(), residual(n)), IMAGE, "residual"),
    "patches, chain": (lambda n: nn.Sequential(Patches(), chain(n)), IMAGE, "chain"),
    "convolutions": (convolutions, IMAGE, "convolutions, chain"),
    "ResNet": (resnet, IMAGE, "convolutions, residual"),
    "ResNet, norms": (
        lambda n: resnet(n, nn.BatchNorm2d(8)), IMAGE, "convolutions, residual, with norms"),
    "before": (lambda n: encoder(n, True), SEQUENCE, "ViT, norm before"),
    "before, one last": (lambda n: encoder(n, True, True), SEQUENCE, "ViT, norm before"),
    "after": (lambda n: encoder(n, False), SEQUENCE, "ViT, norm after"),
    "after, one last": (lambda n: encoder(n, False, True), SEQUENCE, "ViT, norm after"),
    "written out": (written, SEQUENCE, "ViT, norm before"),
    "inside": (
        lambda n: written(n, inside=True), SEQUENCE, "ViT, norm neither before nor after"),
    "ViT": (lambda n: nn.Sequential(Patches(), encoder(n, True)), IMAGE, "ViT, norm before"),
    "attention alone": (
        lambda n: nn.Sequential(*[Attention() for _ in range(n)]), SEQUENCE, "ViT, no additions"),
    "words": (lambda n: words(n, True), TOKENS, "language model"),
    "words, after": (lambda n: words(n, False), TOKENS, "language model, norm after"),
}  # fmt: skip


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_shows_its_kind_however_it_is_traced(name: str, layers: int) -> None:
    make, x, kind = NETWORKS[name]
    model = make(layers)
    exported = depth.trace(model, x)
    assert (exported.how, exported.kind) == ("torch.export", kind)
    with evaluating(model):
        graph = graph_of(watched(Chosen(model, one_output), (x,), {}))
    assert kind_of(counted(graph)) == kind


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"family": "mlp"}, "chain"),
        ({"family": "resmlp"}, "residual"),
        ({"family": "cnn"}, "convolutions, chain"),
        ({"family": "cnn", "norm": "batch"}, "convolutions, chain, with norms"),
        ({"family": "resconv", "stages": 1}, "convolutions, residual"),
        ({"family": "lm", "task": "text"}, "language model"),
        ({"family": "vit", "patch": 4}, "ViT, norm before"),
        ({"family": "vit", "patch": 4, "parallel": True}, "ViT, norm before"),
        ({"family": "vit", "patch": 4, "placement": "post"}, "ViT, norm after"),
        ({"family": "vit", "patch": 4, "placement": "none"}, "ViT, norm neither before nor after"),
    ],
    ids=lambda one: "-".join(map(str, one.values())) if isinstance(one, dict) else None,
)
@pytest.mark.parametrize("blocks", [1, 3])
def test_our_families_are_of_their_kind(
    make_runs: MakeRuns, said: dict[str, Any], kind: str, blocks: int
) -> None:
    assert of_ours(make_runs, width=64, depth=blocks, **said).kind == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("GPT-2, attention written out", "language model"),
        ("GPT-J, parallel", "language model"),
        ("Llama", "language model"),
        ("BERT", "language model, norm after"),
        ("ViT", "ViT, norm before"),
        ("ResNet-18", "convolutions, residual, with norms"),
        ("ConvNeXt-T", "convolutions, residual, with norms"),
    ],
)
def test_published_models_are_of_their_kind(name: str, kind: str) -> None:
    assert traced(name).kind == kind


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_cost_is_that_of_the_kind_or_there_is_none(name: str, optimizer: str) -> None:
    make, x, kind = NETWORKS[name]
    kind = "residual, variance form" if kind == "residual" else kind
    network = f"{kind}, {'SGD' if optimizer == 'sgd' else 'Adam'}"
    shallow, deep = (depth.trace(make(layers), x) for layers in (1, 3))
    found = depth.rate(-4.0, shallow, deep, rule="inverse", optimizer=optimizer)
    assert (found.network, found.assumed) == (network, True)
    assert (found.cost is not None) == (network in law.NETWORKS)
    if found.cost is None:
        assert f"its cost was not measured on {network} (your network" in str(found)


def test_rules_of_one_parametrization_cost_nothing_known_elsewhere() -> None:
    networks = [depth.trace(encoder(layers, True), SEQUENCE) for layers in (1, 3)]
    found = depth.rate(-4.0, *networks, rule="depth_mup")
    assert (found.network, found.cost) == ("ViT, norm before, SGD", None)
    blocks = [depth.trace(residual(layers), ROWS) for layers in (1, 3)]
    assert depth.rate(-4.0, *blocks, rule="depth_mup").network == "residual, Depth-muP, SGD"
