"""One step on one core: Fathom, the loop and JAX in turn, and the machine's own rate."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import loop
import numpy as np
import pandas as pd
import rates
import torch
import tqdm
from fathom.networks.stack import stack
from fathom.spec import Base, Net, Optim, Run
from fathom.sweeps.plan import stacked
from fathom.training.kernels.blas import kernels
from fathom.training.train import train

Peer = Callable[[list[Run], int], Sequence[Sequence[float]]]
SIDE_BY_SIDE = 16  # runs that are trained together where a peer can do that
SHORT = 2  # steps of the training that is subtracted, so that no start-up counts
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


class Contest(NamedTuple):
    """One peer on one kind of run: how it trains which runs, how many steps are timed, the
    seconds it compiled, and of every round the seconds per run and step."""

    name: str
    peer: Peer
    runs: list[Run]
    steps: int
    compile_s: float
    times: list[float]


def settings(quick: bool) -> list[Run]:
    """One run of every kind that is timed. At its base size all layers share one rate, so
    that the loop and JAX need none of Fathom's rules to train the same network."""
    if quick:
        small = [_residual(32, depth=2), _residual(32, depth=2, phi="tanh"), _chain(32, 2)]
        return [*small, _language(32, depth=2)]
    return [
        *(_residual(width) for width in (32, 64, 128, 256)),
        _residual(64, batch=32),
        _residual(64, phi="tanh"),
        _residual(64, phi="gelu"),
        _chain(128, 8),
        _chain(128, 8, phi="tanh"),
        _language(32, depth=8),
    ]


def families(quick: bool) -> list[Run]:
    """The same for the other families and forms, at the sizes of the laptop's entries."""
    if quick:
        few = [_convolutions("resconv", 8, 3, norm="layer"), _vision(32, 2), _linearised(32, 2)]
        return [*few, _language(32, depth=2, placement="post")]
    return [
        *(_convolutions("resconv", 16, depth) for depth in (3, 12, 24)),
        _convolutions("resconv", 8, 12),
        _convolutions("resconv", 32, 12),
        _convolutions("cnn", 8, 6, batch=128, task="fashion7"),
        _convolutions("cnn", 16, 6),
        _convolutions("resconv", 16, 12, norm="layer"),
        _convolutions("resconv", 16, 12, norm="batch"),
        _vision(32, 2),
        _vision(32, 8),
        _vision(32, 8, placement="post"),
        _vision(32, 8, parallel=True),
        _vision(32, 8, layer_scale=0.1),
        *(_language(32, depth=8, placement=placement) for placement in ("post", "none")),
        _language(32, depth=8, parallel=True),
        _linearised(64, 8),
    ]


def _convolutions(
    family: str,
    width: int,
    depth: int,
    batch: int = 32,
    task: str = "fashion14",
    norm: str = "none",
) -> Run:
    residual = {"order": "pre", "gain": depth**-0.5}
    own = residual if family == "resconv" else {"init_gain": 2.0}
    sizes = {"family": family, "width": width, "depth": depth, "norm": norm}
    net = Net.model_validate({**sizes, **own})
    optim = Optim(kind="sgd", log2_lr=-5, batch=batch, steps=300)
    base = Base(width=width, depth=depth)
    return Run(net=net, rules="depth_mup", base=base, optim=optim, task=task, seed=1)


def _vision(width: int, depth: int, **own: Any) -> Run:
    sizes = {"family": "vit", "width": width, "depth": depth, "phi": "gelu", "gain": depth**-0.5}
    net = Net.model_validate({**sizes, **own})
    optim = Optim(kind="adam", log2_lr=-9, batch=32, steps=400)
    base = Base(width=width, depth=depth)
    return Run(net=net, rules="depth_mup", base=base, optim=optim, task="fashion28", seed=1)


def _residual(width: int, depth: int = 16, batch: int = 64, phi: str = "relu") -> Run:
    gain = depth**-0.5
    net = Net(family="resmlp", width=width, depth=depth, phi=phi, center=True, gain=gain)
    optim = Optim(kind="adam", log2_lr=-10, batch=batch, steps=500)
    base = Base(width=width, depth=depth)
    return Run(net=net, rules="depth_mup", base=base, optim=optim, task="digits_random", seed=1)


def _chain(width: int, depth: int, phi: str = "relu") -> Run:
    net = Net(family="mlp", width=width, depth=depth, phi=phi, init_gain=2.0)
    optim = Optim(kind="sgd", log2_lr=-5, batch=64, steps=500)
    base = Base(width=width, depth=depth)
    return Run(net=net, rules="sp", base=base, optim=optim, task="digits_random", seed=1)


def _linearised(width: int, depth: int) -> Run:
    residual = {"family": "linearised", "center": True, "gain": depth**-0.5}
    net = Net.model_validate({"width": width, "depth": depth, "phi": "tanh", **residual})
    optim = Optim(kind="adam", log2_lr=-10, batch=64, steps=500)
    base = Base(width=width, depth=depth)
    return Run(net=net, rules="depth_mup", base=base, optim=optim, task="digits_random", seed=1)


def _language(width: int, depth: int, **own: Any) -> Run:
    sizes = {"family": "lm", "width": width, "depth": depth, "phi": "gelu", "gain": depth**-0.5}
    net = Net.model_validate({**sizes, **own})
    optim = Optim(kind="adam", log2_lr=-8, batch=4, steps=500)
    base = Base(width=width, depth=depth)
    return Run(net=net, rules="depth_mup", base=base, optim=optim, task="text", seed=1)


def measure(quick: bool, runs: list[Run] | None = None) -> pd.DataFrame:
    """A row for every kind of run and peer, two for the matrix products beside them."""
    rounds, seconds = (1, 0.01) if quick else (7, 0.5)
    kinds = runs or settings(quick)
    products = {"openblas": rates.openblas, "torch.mm": rates.torch_mm}
    rows: list[dict[str, Any]] = []
    with _one_core(), _jax() as jaxed:
        waited = tqdm.tqdm(kinds, "compile, and check that all train the same network", ncols=110)
        contests = [_contests(run, jaxed, seconds) for run in waited]
        reached = [{name: [] for name in products} for _ in kinds]
        with tqdm.tqdm(total=rounds * len(kinds), desc=f"{rounds} rounds", ncols=110) as bar:
            for _ in range(rounds):
                for mine, rate in zip(contests, reached, strict=True):
                    for one in mine:
                        one.times.append(_per_step(one))
                    for name, product in products.items():
                        rate[name].append(product())
                    bar.update()
    for run, mine, rate in zip(kinds, contests, reached, strict=True):
        rows += _rows(run, mine, {name: np.array(each) for name, each in rate.items()})
    return pd.DataFrame(rows).assign(kernels=kernels())


@contextmanager
def _one_core() -> Iterator[None]:
    """This process, and those it starts, on one core and one thread."""
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, {max(cores)})
    torch.set_num_threads(1)
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)


@contextmanager
def _jax() -> Iterator[Peer | None]:
    """JAX as a peer, in a process of its own; None where it is not installed."""
    if importlib.util.find_spec("jax") is None:
        yield None
        return
    command = [sys.executable, str(Path(__file__).with_name("jaxed.py"))]
    env = {**os.environ, "XLA_FLAGS": ONE_THREAD, "JAX_PLATFORMS": "cpu"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env) as process:
        asked, told = process.stdin, process.stdout
        assert asked is not None and told is not None

        def peer(runs: list[Run], steps: int) -> list[list[float]]:
            line = {"runs": [run.model_dump() for run in runs], "steps": steps}
            print(json.dumps(line), file=asked, flush=True)
            said = told.readline()
            if not said:
                raise SystemExit("bench: the process that runs JAX stopped; it says why above")
            return json.loads(said)

        yield peer


def _contests(run: Run, jaxed: Peer | None, seconds: float) -> list[Contest]:
    """The peers on one kind of run, Fathom first, warm and checked against one another."""
    runs = [run.model_copy(update={"seed": seed}) for seed in range(SIDE_BY_SIDE)]
    start = [weight[0] for weight in stack(runs[:1]).weights]
    expected = train(runs[:1], steps=5).loss[0]
    peers: list[tuple[str, Peer, list[Run]]] = [
        ("fathom", lambda runs, steps: train(runs, steps=steps).loss.tolist(), stacked(runs)[0]),
        ("loop", lambda runs, steps: [loop.train(runs[0], steps, start)], runs[:1]),
    ]
    if jaxed and run.net.family in ("mlp", "resmlp"):
        peers += [("jax", jaxed, runs[:1]), ("jax", jaxed, runs)]
    found = []
    for name, peer, mine in peers:
        first, again = _time(peer, mine, 5), _time(peer, mine, 5)
        if not np.allclose(peer(mine, 5)[0], expected, atol=1e-3):
            raise SystemExit(f"bench: {name} does not train the network that Fathom trains")
        per_step = max((_time(peer, mine, 13) - again) / 8, 1e-6)
        steps = int(np.clip(seconds / per_step, 4, run.optim.steps - SHORT))
        compile_s = first - again if name == "jax" else float("nan")
        found.append(Contest(name, peer, mine, steps, compile_s, []))
    return found


def _time(peer: Peer, runs: list[Run], steps: int) -> float:
    start = time.perf_counter()
    peer(runs, steps)
    return time.perf_counter() - start


def _per_step(one: Contest) -> float:
    """Seconds per run and step, from a short and a long training."""
    short = _time(one.peer, one.runs, SHORT)
    long = _time(one.peer, one.runs, SHORT + one.steps)
    return (long - short) / one.steps / len(one.runs)


def _form(net: Net) -> str:
    """In what a transformer differs from the others, or the norm of a network of convolutions."""
    if net.family not in ("lm", "vit"):
        return "" if net.norm == "none" else f"norm {net.norm}"
    said = "layer_scale" if net.layer_scale is not None else f"norm {net.placement}"
    return "parallel" if net.parallel else said


def _rows(
    run: Run, contests: list[Contest], products: dict[str, np.ndarray]
) -> Iterator[dict[str, Any]]:
    """Medians over the rounds, with the least and the most; ratios taken inside a round."""
    net, optim = run.net, run.optim
    kind = {"family": net.family, "phi": net.phi, "kind": optim.kind, "width": net.width}
    kind |= {"depth": net.depth, "batch": optim.batch}
    kind |= {"form": _form(net)}
    machine = np.maximum(*products.values())
    for one in contests:
        times = np.array(one.times)
        ratio, rate = times / contests[0].times, rates.operations(run) / times
        row = {"peer": one.name, "runs": len(one.runs), "ms": np.median(1e3 * times)}
        row |= {"ms_low": 1e3 * times.min(), "ms_high": 1e3 * times.max()}
        row |= {"of_fathom": np.median(ratio), "of_fathom_low": ratio.min()}
        row |= {"of_fathom_high": ratio.max(), "gflops": np.median(rate) / 1e9}
        row |= {"share": np.median(rate / machine), "compile_s": one.compile_s}
        yield {**kind, **row}
    for name, reached in products.items():
        yield {**kind, "peer": name, "gflops": np.median(reached) / 1e9}
