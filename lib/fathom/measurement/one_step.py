"""One step: the effective-depth law's own quantity, the mean squared change of the units
per squared rate, to first order, after one step from initialisation.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from fathom.networks.layers import Linear, Vector, along
from fathom.networks.stack import Stack, column, losses, rate, stack, trained
from fathom.networks.tasks import drawn, task
from fathom.spec import DRAWN, Run


def one_step(runs: Sequence[Run], measure: str = "one_step") -> list[dict[str, float]]:
    """The movement of the units in one step at rate 2^log2_lr, to first order in it: of SGD along
    the gradient, of Adam, whose first step has one size in all entries, along its signs.

    For measure one_step the whole batch makes the step; for one_sample_step every example
    makes a step of its own and the squares are averaged. Per run: update_mean (the mean
    over units of the mean squared change, the arithmetic-mean criterion), update_last,
    update_max, update_relative (each change over the unit's own mean square).
    Source: arXiv 2602.07494, Eq. 9; arXiv 2305.07810.
    """
    nets, (x, y) = stack(runs), first_batch(runs)
    alone = measure == "one_sample_step"
    plain = all(isinstance(layer, Linear) and layer.places == 1 for layer in nets.model.layers)
    if plain and (alone or runs[0].optim.kind == "sgd"):
        parts = [_squares(nets, x, _moves_of_rows(nets, x, y, alone))]
    else:
        steps = [
            slice(i, i + 1) if alone else slice(None) for i in range(x.shape[1] if alone else 1)
        ]
        parts = [_squares(nets, x[:, i], _moves_of_weights(nets, x[:, i], y[:, i])) for i in steps]
    change, size = (torch.stack(part).mean(0) for part in zip(*parts, strict=True))
    found = {
        "update_mean": change.mean(0),
        "update_last": change[-1],
        "update_max": change.amax(0),
        "update_relative": (change / size).mean(0),
    }
    return [{name: float(value[i]) for name, value in found.items()} for i in range(len(runs))]


def _rates(nets: Stack, i: int) -> Tensor:
    return column([rate(run, nets.model.layers[i].role) for run in nets.runs])


def _moves_of_rows(nets: Stack, x: Tensor, y: Tensor, alone: bool) -> dict[int, Tensor]:
    """What each layer's step changes in what it gives, for matrices on one row per example.

    A weight's update is a sum of outer products delta h^T over examples, so what it does
    to its own layer's output needs only the Gram matrix of h: no weight gradient is formed. The
    signs of one outer product are those of its factors, so that Adam needs only the sum of |h|.
    """
    inputs: dict[int, tuple[Tensor, Tensor]] = {}

    def watched(i: int, h: Tensor) -> Tensor:
        out = nets.apply(i, h)
        inputs[i] = (h.detach(), torch.zeros_like(out, requires_grad=True))
        return out + inputs[i][1]

    outputs, _ = nets.model.forward(watched, nets.branch, x)
    loss = losses(outputs, y).sum() * (x.shape[1] if alone else 1)
    deltas = torch.autograd.grad(loss, [nudge for _, nudge in inputs.values()])
    moves: dict[int, Tensor] = {}
    for (i, (h, _)), delta in zip(inputs.items(), deltas, strict=True):
        if i not in trained(nets.runs[0].net, nets.model):
            continue
        if nets.runs[0].optim.kind == "adam":
            step = h.abs().sum(-1, keepdim=True) * delta.sign()
            moves[i] = -_rates(nets, i) * nets.mults[i] * step
            continue
        gram = torch.bmm(h, h.transpose(1, 2))
        gram = gram * torch.eye(gram.shape[1]) if alone else gram
        moves[i] = -_rates(nets, i) * nets.mults[i] ** 2 * torch.bmm(gram, delta)
    return moves


def _moves_of_weights(nets: Stack, x: Tensor, y: Tensor) -> dict[int, Tensor]:
    """The same for layers of any kind, by their weights' gradients, for one step on all of x."""
    inputs: dict[int, Tensor] = {}
    learning = trained(nets.runs[0].net, nets.model)
    weights = [part.detach().requires_grad_(i in learning) for i, part in enumerate(nets.weights)]
    free = nets._replace(weights=weights)

    def watched(i: int, h: Tensor) -> Tensor:
        inputs[i] = h.detach()
        return free.apply(i, h)

    outputs, _ = nets.model.forward(watched, nets.branch, x)
    grads = torch.autograd.grad(losses(outputs, y).sum(), [weights[i] for i in learning])
    moves = {}
    for i, grad in zip(learning, grads, strict=True):
        layer, h = nets.model.layers[i], inputs[i]
        added = isinstance(layer, Vector) and not layer.start  # a bias, which needs no input
        step = grad.sign() if nets.runs[0].optim.kind == "adam" else grad
        move = layer.act(-_rates(nets, i) * step, torch.zeros_like(h) if added else h)
        moves[i] = move * along(nets.mults[i], move)
    return moves


@torch.no_grad()
def _squares(nets: Stack, x: Tensor, moves: dict[int, Tensor]) -> tuple[Tensor, Tensor]:
    """Push the layers' own moves through the network in forward mode: the mean squares of every
    unit's change and of the unit itself, each of shape (units, runs)."""
    with forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):

        def moved(i: int, h: Tensor) -> Tensor:
            out = nets.apply(i, h)
            if i not in moves:
                return out
            return out + forward_ad.make_dual(torch.zeros_like(moves[i]), moves[i])

        _, units = nets.model.forward(moved, nets.branch, x)
        pairs = [forward_ad.unpack_dual(unit) for unit in units]
        size = torch.stack([_mean_square(pair.primal, len(nets.runs)) for pair in pairs])
        change = torch.stack([_mean_square(pair.tangent, len(nets.runs)) for pair in pairs])
    return change, size


def _mean_square(unit: Tensor | None, runs: int) -> Tensor:
    """Mean over all but runs, one number per run; a unit that nothing moved has no tangent."""
    if unit is None:
        return torch.zeros(runs).double()
    return unit.square().mean(tuple(range(1, unit.ndim))).double()


def first_batch(runs: Sequence[Run]) -> tuple[Tensor, Tensor]:
    """The first batch of every run: inputs (runs, batch, inputs) and their targets."""
    first, pairs = runs[0], {}
    for seed in {run.seed for run in runs}:
        if first.task in DRAWN:
            pairs[seed] = drawn(first.task, seed, first.optim.batch, first.net.width)
        else:
            about = task(first.task)
            index = about.batches(seed, first.optim.batch, 1)[0]
            pairs[seed] = (about.x[index], about.y[index])
    x, y = zip(*(pairs[run.seed] for run in runs), strict=True)
    return torch.stack(x), torch.stack(y)
