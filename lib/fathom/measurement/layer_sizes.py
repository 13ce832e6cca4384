"""How large the layers of a network are in training, on the batch that its next step sees."""

from collections.abc import Sequence

import torch
from scipy import stats
from torch import Tensor

from fathom.measurement.observe import ForwardPass, observe, rms, trainings
from fathom.networks.stack import stack
from fathom.spec import Run
from fathom.training import autograd

QUARTERS = {"input": 0.0, "quarter": 1 / 4, "half": 1 / 2, "three_quarters": 3 / 4, "last": 1.0}


def layer_sizes(runs: Sequence[Run]) -> list[dict[str, float]]:
    """How large layers are when a run's last step begins, on that step's own batch.

    Per run: the root mean square over batch and width of the first layer (rms_input), of the
    stream after a quarter, half, three quarters and all of the blocks (rms_last), and of the
    output. Of the batch's first example, over the neurons of the last layer: its correlation
    with the last layer at the first step (not centred), its excess kurtosis, and the p-value
    of D'Agostino and Pearson's test that it is normal. Source: Tensor Programs VI, Figure 8.

    One example a step leaves nothing to the compiled kernels but copying: it runs under autograd.
    """
    networks, stops, places = trainings(runs)
    session, done, found = autograd.Session(stack(networks), "cpu"), 0, {}
    start = _last(_upon(session, 0))
    for steps in stops:
        if steps - 1 > done:
            session.learn(done, steps - 1)
        done, found[steps] = steps - 1, _sizes(_upon(session, steps - 1), start)
    return [found[run.optim.steps][place] for run, place in zip(runs, places, strict=True)]


@torch.no_grad()
def _upon(session: autograd.Session, step: int) -> ForwardPass:
    return observe(session.nets, session.task.x[session.order[step]])


def _last(now: ForwardPass) -> Tensor:
    return now.stream[-1][:, 0].double()


def _sizes(now: ForwardPass, start: Tensor) -> list[dict[str, float]]:
    depth, last = len(now.stream) - 1, _last(now)
    layers = {name: now.stream[int(place * depth)] for name, place in QUARTERS.items()}
    sizes = {f"rms_{name}": rms(part) for name, part in (layers | {"output": now.outputs}).items()}
    found = {
        **sizes,
        "correlation": torch.cosine_similarity(start, last, dim=1),
        "kurtosis": stats.kurtosis(last.numpy(), axis=1),
        "p_normal": stats.normaltest(last.numpy(), axis=1).pvalue,
    }
    return [{name: float(value[i]) for name, value in found.items()} for i in range(len(last))]
