"""Nothing but the processor moves a bit of what is compiled: no thread, no setting, no cache."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MakeRuns
from fathom.training.kernels.blas import kernels
from fathom.training.kernels.residual import product
from fathom.training.train import train


@pytest.mark.parametrize("sizes", [(1, 1, 1), (17, 3, 5), (2, 33, 64), (65, 129, 1), (16, 64, 48)])
@pytest.mark.parametrize(("alpha", "beta"), [(1, 0), (0.3, 0), (1, 1), (-1.7, 0.6)])
@pytest.mark.parametrize("a_turned", [True, False])
@pytest.mark.parametrize("b_turned", [True, False])
def test_a_product_is_that_of_numpy(
    a_turned: bool, b_turned: bool, alpha: float, beta: float, sizes: tuple[int, int, int]
) -> None:
    rows, inner, columns = sizes
    rng = np.random.default_rng(0)
    a, b, out = (
        rng.standard_normal(size, dtype=np.float32)
        for size in [
            (inner, rows) if a_turned else (rows, inner),
            (columns, inner) if b_turned else (inner, columns),
            (rows, columns),
        ]
    )
    plain = (a.T if a_turned else a).astype(float) @ (b.T if b_turned else b)
    expected = beta * out + alpha * plain
    if not beta:
        out[:] = np.nan  # what was there before must not matter
    product(np.float32(alpha), a, a_turned, b, b_turned, np.float32(beta), out)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=2e-5)


PRODUCTS = """
import hashlib
import numpy as np
from fathom.training.kernels.blas import kernels
from fathom.training.kernels.residual import product
rng = np.random.default_rng(0)
a, b = (rng.standard_normal((1000, 1000), dtype=np.float32) for _ in range(2))
ours = np.empty_like(a)
product(np.float32(1), a, False, b, False, np.float32(0), ours)
print(kernels(), *(hashlib.sha256(one.tobytes()).hexdigest() for one in (ours, a @ b)))
"""


def said(**env: str) -> list[str]:
    """The kernels' name and the bits of our product and numpy's, in a process of its own."""
    words = [sys.executable, "-c", PRODUCTS]
    env = {**os.environ, **env}
    return subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout.split()


def test_no_setting_of_threads_or_kernels_moves_a_bit_of_a_product() -> None:
    one, two = (dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), n) for n in "12")
    plain, other = said(**one, OPENBLAS_CORETYPE=""), said(**two, OPENBLAS_CORETYPE="Prescott")
    assert plain[:2] == other[:2]
    assert plain[0] == kernels()
    assert plain[2] != other[2], "numpy does as it is told, so this would have been heard"


def test_torchs_threads_move_no_bit_of_a_training(make_runs: MakeRuns) -> None:
    run = make_runs(kind="adam", width=256, batch=128, steps=2)[0]
    alone = train([run])
    torch.set_num_threads(2)
    try:
        assert np.array_equal(train([run]).loss, alone.loss)
    finally:
        torch.set_num_threads(1)


TRAINED = """
import hashlib
from fathom.training.train import train
from fathom.spec import grid
net = {"family": "resmlp", "width": 33, "depth": 3, "block_depth": 2}
net |= {"order": ["pre", "post"], "center": [False, True], "norm": ["none", "layer"]}
optim = {"kind": ["sgd", "adam"], "log2_lr": -7, "batch": 32, "steps": 12}
base = {"width": 16, "depth": 2}
entry = {"net": net, "rules": "depth_mup", "base": base, "optim": optim, "task": "digits"}
entry["seed"] = 1
text = {**entry, "net": {"family": "lm", "width": 32, "depth": 2, "phi": "gelu"}, "task": "text"}
curved = {**entry, "net": {"family": "mlp", "width": 33, "depth": 3, "phi": ["tanh", "gelu"]}}
runs = grid(entry) + grid(curved) + grid({**text, "optim": {**optim, "batch": 2, "decay": 0.1}})
print(*(hashlib.sha256(train([run]).loss.tobytes()).hexdigest() for run in runs))
"""


@pytest.mark.slow
def test_when_and_for_which_processor_loops_were_compiled_moves_no_bit(tmp_path: Path) -> None:
    env, words = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}, [sys.executable, "-c", TRAINED]
    plain, anything = env | {"NUMBA_CPU_NAME": ""}, env | {"NUMBA_CPU_NAME": "generic"}
    just_compiled, stored, compiled_for_any = (
        subprocess.run(words, env=one, capture_output=True, text=True, check=True).stdout
        for one in (plain, plain, anything)
    )
    assert len(set(just_compiled.split())) == 22
    assert just_compiled == stored == compiled_for_any
