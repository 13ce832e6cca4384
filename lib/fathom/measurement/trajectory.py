"""Training on the same few examples at every step, from output 0, as theories of it say."""

import math
from collections.abc import Sequence

import torch

from fathom.measurement.observe import observe, trainings
from fathom.networks.layers import nonlinearity
from fathom.networks.stack import Stack, losses, stack
from fathom.spec import Run
from fathom.training import autograd

PLACES = {"input": 0.0, "quarter": 1 / 4, "half": 1 / 2, "three_quarters": 3 / 4, "last": 1.0}


class Centred(autograd.Session):
    """The training of a stack whose outputs at the start are taken off."""

    def __init__(self, nets: Stack, examples: int) -> None:
        super().__init__(nets, "cpu")
        x, y = self.task.x[:examples], self.task.y[:examples]
        self.x = x.expand(len(nets.runs), *x.shape)
        self.targets = y.expand(len(nets.runs), *y.shape)
        with torch.no_grad():
            self.start = self.nets(self.x)[0]
        self.largest = torch.zeros(len(nets.runs))

    def _step(self) -> None:
        outputs, _ = self.nets(self.x)
        loss = losses(outputs - self.start, self.targets)
        self._update(torch.autograd.grad(loss.sum(), self.weights))
        self.loss.copy_(loss.detach())
        self.largest = torch.maximum(self.largest, self.loss)


def trajectory(runs: Sequence[Run]) -> list[dict[str, float]]:
    """A network after the run's steps of training on the first `batch` examples of the task, its
    function at the start taken off.

    Per run: loss_full; loss_largest, the largest loss up to then; output_first and output_last, the
    first outputs on the first and last of the examples; feature_input ... feature_last, of the
    first example, the mean square over width (and pixels) of phi of the stream h after the first
    layer, a quarter, half, three quarters and all of the blocks; gradient_input ... gradient_last,
    there, of g = gamma_0 width df/dh. What is no number any more is infinite. Of a task of
    few examples a batch has to hold all. Source: Depthwise transfer, claims C9 to C12 of our
    notes, g of section 5.1.
    """
    networks, stops, places = trainings(runs)
    session, done, found = Centred(stack(networks), runs[0].optim.batch), 0, {}
    for steps in stops:
        session.learn(done, steps)
        done, found[steps] = steps, _seen(session)
    return [found[run.optim.steps][place] for run, place in zip(runs, places, strict=True)]


def _seen(session: Centred) -> list[dict[str, float]]:
    nets, phi = session.nets, nonlinearity(session.nets.runs[0].net.phi)
    now = observe(nets, session.x.clone().requires_grad_())
    streams = [now.stream[int(place * (len(now.stream) - 1))] for place in PLACES.values()]
    slopes = torch.autograd.grad(now.outputs[:, 0, 0].sum(), streams)
    scale = torch.tensor([run.net.gamma_0 * run.net.width for run in nets.runs])[:, None]
    with torch.no_grad():
        outputs = now.outputs - session.start
        loss = losses(outputs, session.targets)
        found = {"loss_full": loss, "loss_largest": torch.maximum(session.largest, loss)}
        found |= {"output_first": outputs[:, 0, 0], "output_last": outputs[:, -1, 0]}
        for name, stream in zip(PLACES, streams, strict=True):
            found[f"feature_{name}"] = phi(stream[:, 0].double()).flatten(1).square().mean(1)
        for name, slope in zip(PLACES, slopes, strict=True):
            found[f"gradient_{name}"] = (scale * slope[:, 0].double().flatten(1)).square().mean(1)
    known = {name: value.nan_to_num(math.inf, math.inf, -math.inf) for name, value in found.items()}
    return [{name: float(value[i]) for name, value in known.items()} for i in range(len(nets.runs))]
