"""What has no effective depth is refused in a sentence: which operation, where, and why."""

from typing import Any

import pytest
import torch
from fathom import depth
from fathom.spec import Refused
from test_depth_models import IDS, SMALL, WORDS, made
from torch import Tensor, nn


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        if y.sum() > 0:
            return y
        return self.inner(y.relu())


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.input, self.state = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros_like(x[:, 0])
        for t in range(x.shape[1]):
            h = torch.tanh(self.input(x[:, t]) + self.state(h))
        return h


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner(x), x


class Deaf(Two):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return self.inner(torch.ones_like(x))


class OneExpert(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(4, 2), nn.Parameter(torch.ones(2, 4, 4))

    def forward(self, x: Tensor) -> Tensor:
        chosen = self.experts[self.gate(x).argmax(dim=-1)]
        return torch.einsum("bi,bij->bj", x, chosen)


class DropPath(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drop_prob, self.inner = 0.1, nn.Linear(4, 4)


X = torch.zeros(2, 4)
MOE: dict[str, Any] = {"num_key_value_heads": 2, "num_local_experts": 2, "num_hidden_layers": 1}
REFUSED: dict[str, tuple[Any, Any, str]] = {
    "control flow": (
        Branching, X, r"test_depth_refusals.py, line \d+ \(if y.sum\(\) > 0:\).*control flow"),
    "shared weights": (
        Recurrent, torch.zeros(2, 3, 4), "^state: its weights act 2 times.*recurrence.*trace one"),
    "lstm": (lambda: nn.Sequential(nn.LSTM(4, 4)), X, "^0: LSTM is a recurrence"),
    "ALBERT": (
        lambda: made("Albert", "Model", num_hidden_layers=2, embedding_size=8, **SMALL,
                     vocab_size=32), IDS, "albert_layers.0.*its weights act 2 times"),
    "Mamba": (
        lambda: made("Mamba", "Model", state_size=4, num_hidden_layers=1, hidden_size=8,
                     vocab_size=32), IDS, "layers.0.mixer.*every step of time.*Mamba and its kin"),
    "Mamba-2": (
        lambda: made("Mamba2", "Model", state_size=4, num_hidden_layers=1, hidden_size=8,
                     num_heads=4, head_dim=4, n_groups=1, chunk_size=4, vocab_size=32), IDS,
        "layers.0.mixer.*cumsum sums up"),
    "Mixtral": (
        lambda: made("Mixtral", "ForCausalLM", **SMALL, **WORDS, **MOE), IDS,
        "layers.0.mlp.*topk chooses by the data.*mixture of experts"),
    "one expert": (OneExpert, X, "argmax chooses by the data.*mixture of experts"),
    "stochastic depth": (lambda: nn.Sequential(DropPath()), X, "^0: stochastic depth.*rate of 0.1"),
    "no parameters": (nn.ReLU, X, "ReLU has no parameters.*trace a module that has weights"),
    "wrong shape": (lambda: nn.Linear(4, 4), torch.zeros(2, 5), r"shape \(2, 5\) \(mat1 and mat2"),
    "no example": (lambda: nn.Linear(4, 4), (), "holds no tensor"),
    "no module": (lambda: len, X, "trace a torch.nn.Module"),
    "two outputs": (Two, X, "returns 2 tensors.*wrap it in a module that returns the one"),
    "deaf": (Deaf, X, "does not depend on the input"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_depth_is_refused_with_the_reason(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    make, example, sentence = REFUSED[name]
    inputs = example if isinstance(example, tuple) else (example,)
    with pytest.raises(Refused, match=sentence) as refused:
        depth.trace(make(), *inputs)
    assert "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", "")


def test_a_table_has_a_row_for_each_model_and_the_reason_of_a_refusal() -> None:
    chain = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    table = depth.trace_table({"chain": (chain, X), "two": (Two(), X)}).set_index("name")
    row = table.to_dict("index")["chain"]
    names = ("layers", "additions", "effective_depth", "sequential", "offset", "log2_cubes")
    assert [row[name] for name in names] == [3, 0, 2, 2, 0, 3.0]
    assert table["effective_depth"].isna().tolist() == [False, True]
    assert "returns 2 tensors" in table["refused"].tolist()[1]
