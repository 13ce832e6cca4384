"""Sharpness: the curvature of the loss at initialisation, which limits the rate that is stable."""

from collections.abc import Sequence

import torch

from fathom.measurement.one_step import first_batch
from fathom.networks.stack import rate, stack, trained
from fathom.spec import Run


def sharpness(runs: Sequence[Run]) -> list[dict[str, float]]:
    """The largest eigenvalue of the Gauss-Newton matrix of one example's half squared error, in
    the metric of the rates: at rate 2^log2_lr a step on that example is stable below 2.

    With one output f it is the sum over weights w of rate(w) (df/dw)^2, the example's tangent
    kernel with itself. Per run: sharpness, its mean over the examples of a batch. Wants a
    task of one output. Source: the effective-depth law's notes, section 4.5.
    """
    (x, _), nets = first_batch(runs), stack(runs)
    learning = trained(runs[0].net, nets.model)
    weights = [part.detach().requires_grad_(i in learning) for i, part in enumerate(nets.weights)]
    free, rates = nets._replace(weights=weights), []
    for i in learning:
        role = nets.model.layers[i].role
        rates.append(torch.tensor([rate(one, role) for one in runs], dtype=torch.float64))
    found = torch.zeros(len(runs), dtype=torch.float64)
    for example in range(x.shape[1]):
        outputs, _ = nets.model.forward(free.apply, nets.branch, x[:, example : example + 1])
        grads = torch.autograd.grad(outputs.sum(), [weights[i] for i in learning])
        for each, grad in zip(rates, grads, strict=True):
            found += each * grad.flatten(1).square().sum(1).double()
    return [{"sharpness": float(value) / x.shape[1]} for value in found]
