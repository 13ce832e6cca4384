"""Models to trace: published architectures at their own depth, narrow, without weights."""

from typing import Any

import torch
from torch import nn

from fathom.depth.trace import Trace, trace

TOKENS, IMAGE = torch.arange(6)[None], torch.zeros(1, 3, 32, 32)
_WORDS: dict[str, Any] = {"vocab_size": 32, "bos_token_id": None, "eos_token_id": None}
_SMALL: dict[str, Any] = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
_GPT: dict[str, Any] = {"n_embd": 16, "n_head": 2, "n_positions": 16, **_WORDS}
_T5: dict[str, Any] = {"d_model": 16, "d_kv": 8, "num_heads": 2, "d_ff": 16, "vocab_size": 32}
_RESNET: dict[str, Any] = {"embedding_size": 4, "hidden_sizes": [4, 4, 4, 4], "num_labels": 2}
_STATE: dict[str, Any] = {"hidden_size": 16, "state_size": 4, "num_hidden_layers": 2}
_CONFIGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ResNet-18": ("ResNet", "ForImageClassification", {"depths": [2, 2, 2, 2], **_RESNET}),
    "ResNet-34": ("ResNet", "ForImageClassification", {"depths": [3, 4, 6, 3], **_RESNET}),
    "ResNet-50": ("ResNet", "ForImageClassification", {"depths": [3, 4, 6, 3], **_RESNET}),
    "ConvNeXt-T": ("ConvNext", "ForImageClassification", {"depths": [3, 3, 9, 3]}),
    "ViT-B": ("ViT", "ForImageClassification", {"image_size": 32, "patch_size": 8, **_SMALL}),
    "BERT-base": ("Bert", "Model", {"vocab_size": 32, **_SMALL}),
    "GPT-2": ("GPT2", "LMHeadModel", {"n_layer": 12, **_GPT}),
    "GPT-J, 12 parallel blocks": ("GPTJ", "ForCausalLM", {"n_layer": 12, "rotary_dim": 4, **_GPT}),
    "T5, 6 and 6": ("T5", "ForConditionalGeneration", {"num_layers": 6, **_T5}),
    "Mamba": ("Mamba", "ForCausalLM", {"vocab_size": 32, **_STATE}),
}
for _name in ("ResNet-18", "ResNet-34"):
    _CONFIGS[_name][2]["layer_type"] = "basic"
_CONFIGS["ConvNeXt-T"][2]["hidden_sizes"] = [4, 4, 4, 4]


def model(name: str) -> tuple[nn.Module, Any]:
    """A published architecture by name, at its own depth, and an example of its input. Raises
    KeyError for a name that is not in NAMES."""
    if name == CHAIN:
        layers = [one for _ in range(8) for one in (nn.Linear(4, 4), nn.ReLU())]
        return nn.Sequential(*layers, nn.Linear(4, 2)), torch.zeros(1, 4)
    import transformers  # takes seconds, and only these examples want it

    transformers.logging.set_verbosity_error()
    family, kind, said = _CONFIGS[name]
    made = getattr(transformers, f"{family}{kind}")(
        getattr(transformers, f"{family}Config")(**said)
    )
    if family in ("ResNet", "ConvNext", "ViT"):
        return made, IMAGE
    if family == "T5":
        return made, {"input_ids": TOKENS, "decoder_input_ids": TOKENS}
    return made, TOKENS


def traced(name: str) -> Trace:
    """The trace of a published architecture by name."""
    module, example = model(name)
    return trace(module, example)


CHAIN = "chain of 8 matrices"
NAMES = (CHAIN, *_CONFIGS)
