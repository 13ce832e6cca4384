"""Effective depth of torch modules: our own families, models of transformers, refusals."""

import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from conftest import MakeRuns
from fathom import depth
from fathom.depth.build import graph_of
from fathom.depth.capture import Chosen, evaluating
from fathom.depth.effective import effective_depth
from fathom.depth.trace import one_output
from fathom.depth.watch import watched
from fathom.draw.graphs import network
from fathom.networks.families import build
from fathom.networks.layers import Model
from fathom.networks.tasks import CONTEXT
from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers

IDS, SOURCE, IMAGE = torch.arange(6)[None], torch.arange(5)[None] + 9, torch.zeros(1, 3, 32, 32)
WORDS: dict[str, Any] = {"vocab_size": 32, "bos_token_id": None, "eos_token_id": None}
SMALL: dict[str, Any] = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
GPT: dict[str, Any] = {"n_embd": 16, "n_head": 2, "n_positions": 16, **WORDS}
T5: dict[str, Any] = {"d_model": 16, "d_kv": 8, "num_heads": 2, "d_ff": 16, "vocab_size": 32}


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity(level)


class Network(nn.Module):
    """One run of one of our families as a module, at its layers' first draw."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self.weights = nn.ParameterList(one.begin(0)[None] for one in model.layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model.forward(self.apply_layer, torch.ones(1, 1, 1), x)[0]

    def apply_layer(self, i: int, h: Tensor) -> Tensor:
        return self.model.layers[i].act(self.weights[i], h)


def of_ours(make_runs: MakeRuns, **said: Any) -> depth.Trace:
    net = make_runs(**said)[0].net
    if net.family == "lm":
        return depth.trace(
            Network(build(net, 32, 32)), torch.zeros(1, 2, CONTEXT, dtype=torch.int64)
        )
    return depth.trace(Network(build(net, 64, 10)), torch.zeros(1, 2, 64))


@pytest.mark.parametrize("blocks", [1, 2, 4])
@pytest.mark.parametrize(
    ("said", "each", "layers", "offset"),
    [
        ({"family": "mlp"}, 1, 1, 0),
        ({"family": "resmlp"}, 1, 1, 1),
        ({"family": "resmlp", "block_depth": 2, "center": True}, 1, 2, 1),
        ({"family": "cnn"}, 1, 1, 0),
        ({"family": "resconv", "stages": 1, "block_depth": 2}, 1, 2, 1),
        ({"family": "lm", "task": "text"}, 2, 4, 0),
        ({"family": "vit", "patch": 4}, 2, 4, 1),
        ({"family": "vit", "patch": 4, "parallel": True}, 1, 2, 1),
    ],
    ids=lambda one: "-".join(map(str, one.values())) if isinstance(one, dict) else None,
)
def test_our_families_are_as_deep_as_they_say(
    make_runs: MakeRuns, said: dict[str, Any], each: int, layers: int, offset: int, blocks: int
) -> None:
    found = of_ours(make_runs, width=64, depth=blocks, **said)
    assert found.how == "torch.export"
    assert (found.depth.value, found.depth.other) == (each * blocks, layers * blocks)
    assert found.depth.convention.offset == offset


def resnet(depths: list[int], kind: str) -> nn.Module:
    said = transformers.ResNetConfig(
        embedding_size=4, hidden_sizes=[8, 12, 16, 20], depths=depths, layer_type=kind
    )
    return transformers.ResNetForImageClassification(said)


def gpt2(blocks: int = 12, **said: Any) -> nn.Module:
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=blocks, **GPT, **said))


def neox(**said: Any) -> nn.Module:
    said = {"num_hidden_layers": 3, **SMALL, **WORDS, **said}
    return transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**said))


def t5() -> nn.Module:
    said = transformers.T5Config(num_layers=2, num_decoder_layers=3, **T5)
    return transformers.T5ForConditionalGeneration(said)


def made(name: str, kind: str, **said: Any) -> nn.Module:
    """A model of transformers by name, from its configuration, without weights."""
    config = getattr(transformers, f"{name}Config")(**said)
    return getattr(transformers, f"{name}{kind}")(config)


MODELS: dict[str, tuple[Any, Any, tuple[int, int, int]]] = {  # shortest, sequential, offset
    "GPT-2": (gpt2, IDS, (24, 48, 0)),
    "GPT-2, attention written out": (
        lambda: gpt2(2, attn_implementation="eager"), IDS, (4, 8, 0)),
    "BERT": (
        lambda: made("Bert", "Model", num_hidden_layers=3, **SMALL, vocab_size=32),
        {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}, (6, 12, 0)),
    "BERT, masked words": (  # its head has a layer of its own
        lambda: made("Bert", "ForMaskedLM", num_hidden_layers=3, **SMALL, vocab_size=32),
        IDS, (7, 13, 0)),
    "ViT": (
        lambda: made("ViT", "ForImageClassification", num_hidden_layers=3, image_size=32,
                     patch_size=8, **SMALL), IMAGE, (6, 12, 1)),
    "ResNet-18": (lambda: resnet([2, 2, 2, 2], "basic"), IMAGE, (8, 16, 1)),
    "ResNet-34": (lambda: resnet([3, 4, 6, 3], "basic"), IMAGE, (16, 32, 1)),
    "ResNet-50": (lambda: resnet([3, 4, 6, 3], "bottleneck"), IMAGE, (16, 48, 1)),
    "ConvNeXt-T": (  # 18 blocks, and 3 convolutions between its stages
        lambda: made("ConvNext", "ForImageClassification", hidden_sizes=[4, 4, 4, 4],
                     depths=[3, 3, 9, 3]), IMAGE, (21, 57, 1)),
    "GPT-J, parallel": (
        lambda: made("GPTJ", "ForCausalLM", n_layer=3, rotary_dim=4, **GPT), IDS, (3, 6, 0)),
    "GPT-NeoX, parallel": (neox, IDS, (3, 6, 0)),
    "GPT-NeoX, one after another": (
        lambda: neox(use_parallel_residual=False), IDS, (6, 12, 0)),
    "Llama": (
        lambda: made("Llama", "ForCausalLM", num_hidden_layers=2, **SMALL, **WORDS),
        IDS, (4, 8, 0)),
    "T5, encoder": (lambda: t5().encoder, IDS, (4, 8, 0)),
    "T5, decoder": (
        lambda: t5().decoder,
        {"input_ids": IDS, "encoder_hidden_states": torch.zeros(1, 5, 16)}, (9, 18, 0)),
    "T5": (t5, {"input_ids": SOURCE, "decoder_input_ids": IDS}, (9, 24, 0)),
}  # fmt: skip


@cache
def traced(name: str) -> depth.Trace:
    make, example, _ = MODELS[name]
    return depth.trace(make(), example)


@pytest.mark.parametrize("name", MODELS)
def test_models_of_transformers_are_as_deep_as_they_are_drawn(name: str) -> None:
    found = traced(name)
    assert found.how == "torch.export"
    said = found.depth
    assert (said.value, said.other, said.convention.offset) == MODELS[name][2]


def test_names_of_resnets_are_their_layers_with_stem_and_readout() -> None:
    for layers in (18, 34, 50):
        graph = traced(f"ResNet-{layers}").graph
        found = effective_depth(graph, convention="sequential", stem=True, readout=True)
        assert found.value == layers


def test_encoder_and_decoder_each_have_a_depth() -> None:
    found = traced("T5").depth
    # through the encoder, then value and output matrix, cross-attention's and the last addition
    assert dict(found.starts) == {"input_ids": 2 * 2 + 4, "decoder_input_ids": 3 * 3}


def test_units_bear_the_names_of_modules() -> None:
    found = traced("GPT-2").depth
    assert found.units[:2] == ("transformer.h.0 +", "transformer.h.0 + (2)")
    assert found.convention.readout == "lm_head, not counted"


def test_a_model_may_lie_on_the_meta_device() -> None:
    with torch.device("meta"):
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=2, n_embd=12_288))
        found = depth.trace(model, IDS.to("meta"))
    assert found.depth.value == 4


@pytest.mark.parametrize("name", ["GPT-2, attention written out", "BERT", "ResNet-18", "T5"])
def test_a_run_that_is_watched_gives_the_graph_that_is_exported(name: str) -> None:
    make, example, known = MODELS[name]
    args, kwargs = ((), example) if isinstance(example, dict) else ((example,), {})
    model = make()
    with evaluating(model):
        graph = graph_of(watched(Chosen(model, one_output), args, kwargs))
    found = effective_depth(graph)
    assert (found.value, found.other, found.convention.offset) == known
    assert depth.path_counts(graph) == traced(name).paths


def test_a_module_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    depth.trace(model, torch.randn(3, 4))
    assert [part.training for part in model] == [True, False, True, True]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(not part._forward_hooks for part in model.modules())


# ---- drawn networks of torch


class Dense(nn.Module):
    """A block of DenseNet with a convolution before, one behind, and a read-out."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4 + 4 * layers, 4, 1)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.ReLU(), nn.Conv2d(4 + 4 * i, 4, 3, padding=1)) for i in range(layers)
        )
        self.readout = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.readout(self.last(x).relu().mean((2, 3)))


class InPlace(nn.Module):
    """A residual block that writes into its stream, half by half."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.readout = nn.Linear(4, 2), nn.Linear(4, 2), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(len(x), 4)
        h[:, :2] = self.first(x).relu_()
        h[:, 2:] = self.second(x).relu_()
        return self.readout(h.add_(x))


class Counting(nn.Module):
    """Three layers that count how often they were asked."""

    asked: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU())
        self.readout = nn.Linear(4, 1)
        self.register_buffer("asked", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.asked.add_(1)
        return self.readout(self.layers(x))


def test_what_a_module_writes_down_is_not_its_output() -> None:
    model = Counting()
    assert depth.trace(model, torch.zeros(3, 4)).depth.value == 2
    assert float(model.asked) == 0


@pytest.mark.parametrize("layers", [2, 5])
def test_where_the_conventions_differ_both_are_shown(layers: int) -> None:
    found = depth.trace(Dense(layers), IMAGE)
    assert (found.depth.value, found.depth.other) == (1, layers + 1)
    assert f"1 by the shortest path; {layers + 1} by layers one after another" in str(found)


def test_writing_in_place_is_followed() -> None:
    model, x = InPlace(), torch.zeros(3, 4)
    with evaluating(model):
        seen = effective_depth(graph_of(watched(Chosen(model, one_output), (x,), {})))
    found = depth.trace(model, x).depth
    assert (found.value, found.other) == (seen.value, seen.other) == (1, 1)


# ---- a drawing, a rate from two traces


def test_a_rate_goes_from_one_traced_network_to_another() -> None:
    shallow, deep = depth.trace(gpt2(1), IDS), depth.trace(gpt2(2), IDS)
    assert depth.rate(-4.0, shallow, deep, rule="inverse").log2_lr == -5
    # blocks of two branches of two layers each: 2^4 paths, and a length that is even
    cubes = [
        sum(w * (2 * k) ** 3 for k, w in enumerate(row)) for row in ((1, 2, 1), (1, 4, 6, 4, 1))
    ]
    found = depth.rate(0.0, shallow, deep, rule="all_paths").log2_lr
    assert 2 ** (-2 * found) == pytest.approx(cubes[1] / cubes[0])


def test_a_drawing_folds_its_blocks_and_colours_its_path() -> None:
    figure = network(depth.fold(traced("GPT-2").graph), "GPT-2")
    (axes,) = figure.axes
    words = [one.get_text() for one in axes.texts]
    assert "× 12" in words and words.count("+") == 2 and "attention" in words
    assert axes.get_title(loc="left") == "GPT-2"
