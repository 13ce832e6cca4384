"""Remove load-bearing factors one by one, and see that the tests notice each.

Run by `make mutate`: copies the suite, spoils one line of the copy, runs the tests that
ought to fail, and fails itself where they pass.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Mutation(NamedTuple):
    """A factor, where it stands, what it is spoiled to, and which tests must notice."""

    what: str
    path: str
    old: str
    new: str
    tests: str


LOOPS, PARTS, LM_LOOPS = "net/loops.py", "net/parts.py", "net/lm_loops.py"
COMPILED = "net/compiled.py"
LINEARISED, LM = "net/models/linearised.py", "net/models/lm.py"
FREE = "    if True:\n        product"
ALIKE = 'rate(run, "block")'
NO_ROLE = 'EPSILON * rule(run, "readout")'
MUTATIONS = [
    Mutation(
        "1/sqrt(L) on the branch", "net/scaling.py", "Power(0, -a), rules", "ONE, rules", "probe"
    ),
    Mutation(
        "1/N of Adam's hidden rate",
        "net/scaling.py",
        "adam=Power(-1), eps=Power(-1), decay=Power(1)),",
        "eps=Power(-1), decay=Power(1)),",
        "scaling",
    ),
    Mutation(
        "Adam's factor of depth",
        "net/scaling.py",
        "adam=Power(-1, -g)",
        "adam=Power(-1)",
        "parametrizations",
    ),
    Mutation(
        "a gain's factor of depth",
        "net/scaling.py",
        "adam=Power(0, -g)",
        "adam=ONE",
        "parametrizations",
    ),
    Mutation(
        "1/N of the read-out",
        "net/scaling.py",
        "Rule(init=Power(-1), sgd=Power(-1)",
        "Rule(sgd=Power(-1)",
        "scaling",
    ),
    Mutation("mean subtraction", "net/layers.py", "h - h.mean(-1, keepdim=True)", "h", "models"),
    Mutation("mean subtraction in loops", LOOPS, "* (z[i, j] - mean)", "* z[i, j]", "loops"),
    Mutation("its gradient", LOOPS, "(down[i, j] - mean)", "down[i, j]", "loops"),
    Mutation("the branch in a gradient", LOOPS, "plan.branch * (ONE", "(ONE", "loops"),
    Mutation("a multiplier", LOOPS, "plan.mult[0], at.batch, F", "ONE, at.batch, F", "loops"),
    Mutation("a multiplier in a gradient", LOOPS, "mult, inputs, T", "ONE, inputs, T", "loops"),
    Mutation("the stream", LOOPS, "plan.keep * stream[i, j]", "ZERO", "loops"),
    Mutation("its gradient, pre", LOOPS, "at.spare, plan.keep", "at.spare, ZERO", "loops"),
    Mutation("its gradient, post", LOOPS, "True, plan.keep", "True, ZERO", "loops"),
    Mutation("the slope in a gradient", LOOPS, "+ slope * g[i, j]", "+ g[i, j]", "loops"),
    Mutation("frozen ends", LOOPS, "    if plan.ends:\n        product", FREE, "loops"),
    Mutation("Adam's correction", PARTS, " / (1 - BETA_1 ** (step + 1))", "", "loops"),
    Mutation("its square's", PARTS, "math.sqrt(1 - BETA_2 ** (step + 1))", "1.0", "loops"),
    Mutation("epsilon's correction", PARTS, "eps * unbias", "eps", "loops"),
    Mutation("half of the square", LOOPS, "out[j] * out[j] / 2", "out[j] * out[j]", "loops"),
    Mutation("squares too large", PARTS, "factor = LOST", "factor = ZERO", "lm_loops"),
    Mutation(
        "a branch's multiplier",
        LM_LOOPS,
        "taken = branch * mult[MIX]",
        "taken = branch",
        "lm_loops",
    ),
    Mutation(
        "a factor of attention",
        LM_LOOPS,
        "product(SHARP, scores, True",
        "product(ONE, scores, True",
        "lm_loops",
    ),
    Mutation("what a softmax takes back", LM_LOOPS, " - sums[query])", ")", "lm_loops"),
    Mutation(
        "a token sees none after it",
        LM_LOOPS,
        "seen if query >= key else NEVER",
        "seen",
        "lm_loops",
    ),
    Mutation("the slope of GELU", LM_LOOPS, " *= at.slope[i, row, j]", " *= ONE", "lm_loops"),
    Mutation("an embedding's multiplier", LM_LOOPS, "mult[EMBED] * down", "ONE * down", "lm_loops"),
    Mutation("the share of a rate", LM_LOOPS, "rate = share * plan", "rate = plan", "lm_loops"),
    Mutation("the share of a decay", LM_LOOPS, "ONE - share * plan", "ONE - plan", "lm_loops"),
    Mutation("what is not a number", LM_LOOPS, " + ZERO * y[j]", "", "lm_loops"),
    Mutation("a factor of its scores", LM_LOOPS, "product(SHARP, k", "product(ONE, k", "lm_loops"),
    Mutation(
        "and of the keys'", LM_LOOPS, "(SHARP, scores, False", "(ONE, scores, False", "lm_loops"
    ),
    Mutation(
        "a branch on its way back", LM_LOOPS, "plan.branch * mult[DOWN]", "mult[DOWN]", "lm_loops"
    ),
    Mutation("the other", LM_LOOPS, "plan.branch * mult[MIX]", "mult[MIX]", "lm_loops"),
    Mutation(
        "gradients begin at 0", LM_LOOPS, "g.embed[:], g.places[:] = ZERO, ZERO", "pass", "lm_loops"
    ),
    Mutation("and so the stream's", LM_LOOPS, "    down[:] = ZERO", "    pass", "lm_loops"),
    Mutation("the count of steps", LM_LOOPS, "start + step, shares", "step, shares", "lm_loops"),
    Mutation(
        "the share of its step", COMPILED, "range(start, end)", "range(end - start)", "lm_loops"
    ),
    Mutation("the share of a step", COMPILED, "schedule(self.optim, step)", "1.0", "lm_loops"),
    Mutation("which layer is which", COMPILED, "2, 5, 6, 7", "2, 6, 5, 7", "lm_loops"),
    Mutation(
        "memory of a card", "net/plan.py", 'on(machine.device) == "cpu")', "True)", "progress"
    ),
    Mutation("one thread", "net/blas.py", "dll.scipy_openblas_set_num_threads(1)", "", "loops"),
    Mutation("kernels of our own", "net/blas.py", "environ.pop", "environ.get", "loops"),
    Mutation("a rate per role", "net/compiled.py", "rate(run, layer.role)", ALIKE, "scaling"),
    Mutation("Adam's count", "net/eager.py", "fill_(step + 1)", "fill_(1)", "loops"),
    Mutation("epsilon's role", "net/stack.py", "EPSILON * rule(run, role)", NO_ROLE, "scaling"),
    Mutation("rules in a shape", "net/stack.py", "run.rules, run.base, ", "", "plan"),
    Mutation("a multiplier, by autograd", "net/stack.py", "y * self.mults[i] if", "y if", "loops"),
    Mutation("He's gain", "net/stack.py", "else run.net.init_gain)", "else 1.0)", "models"),
    Mutation("denormals to 0", "net/train.py", "denormal(True)", "denormal(False)", "loops"),
    Mutation("what a checkpoint brings", "net/train.py", "here.copy_(", "print(", "checkpoints"),
    Mutation("whose checkpoint", "net/train.py", "there == wanted and", "", "checkpoints"),
    Mutation(
        "no pickles", "store.py", "allow_pickle=False) as", "allow_pickle=True) as", "checkpoints"
    ),
    Mutation("stacks of one", "net/plan.py", "net.width % 16 or rows(run) % 16", "False", "plan"),
    Mutation("the memory allowed", "net/plan.py", "return min(fits, size)", "return size", "plan"),
    Mutation(
        "the read-out's nonlinearity",
        "net/models/resmlp.py",
        "phi(stream) if pre else stream",
        "stream",
        "models",
    ),
    Mutation(
        "the seed of the batches",
        "net/data.py",
        "default_rng([seed, 0]), len",
        "default_rng([0, 0]), len",
        "models",
    ),
    Mutation(
        "the square of a multiplier", "net/probe.py", "nets.mults[i] ** 2", "nets.mults[i]", "probe"
    ),
    Mutation("what a block learns", LINEARISED, "start(i, moved) + ", "", "linearised"),
    Mutation("its start at 0", "net/stack.py", "return 0.0", "return 0.1", "linearised"),
    Mutation("the rest", "net/linearity.py", "whole - start - linear", "linear", "linearised"),
    Mutation("a head's width", LM, "scale=1 / HEAD", "scale=1 / HEAD**0.5", "lm"),
    Mutation("a decay that falls", "net/eager.py", "1 - self.share * shrink", "1 - shrink", "lm"),
    Mutation("a share of the rate", "net/eager.py", "move * self.share", "move", "lm"),
    Mutation("as it was", "net/eager.py", "        part.copy_(was)", "        pass", "recorded"),
    Mutation("looks in order", "net/scales.py", "learn(done, steps", "learn(0, steps", "probe"),
    Mutation("where a look begins", "net/train.py", "range(start, end", "range(0, end", "train"),
    Mutation("kappa of the formula", "law/formula.py", "kappa * L", "L", "law"),
    Mutation("U's 1/sqrt(d)", "net/infinite.py", " / np.sqrt(x.shape[-1])", "", "limit_engine"),
    Mutation("a limit's gain", "net/infinite.py", "run.net.gain", "1.0", "limit_engine"),
    Mutation("95 %", "law/interval.py", "0.975", "0.95", "law"),
    Mutation(
        "other versions",
        "store.py",
        " and _made_with(place(name, root)) == _versions()",
        "",
        "journal",
    ),
    Mutation(
        "a checkpoint's end", "net/sweep.py", 'saved.pop(row["key"]).discard()', "pass", "progress"
    ),
    Mutation("what diverged", "net/sweep.py", "{lost} diverged", "0 diverged", "progress"),
    Mutation(
        "one limit of several",
        "law/limits.py",
        "where(limit, limits or {})",
        "limit",
        "limit_engine",
    ),
    Mutation(
        "a drift of its own step", "limit/nonlinear.py", "found[-1] += ", "0 * ", "limit_sampled"
    ),
    Mutation(
        "a tuned gap's edges",
        "law/measures.py",
        "rows = _usable(where(table, given))\n    best",
        "rows = where(table, given)\n    best",
        "law_powers",
    ),
    Mutation("the digest of a table", "store.py", "or words[2] != _digest(body)", "", "store"),
]


def passes(tests: str, copy: Path) -> bool:
    """True where a file of tests passes in the copy."""
    env = {**os.environ, "PYTHONPATH": str(copy / "lib"), "PYTHONDONTWRITEBYTECODE": "1"}
    words = ["-m", "pytest", "-p", "no:nbval", "-p", "no:cacheprovider", "-qx"]
    done = subprocess.run(
        [sys.executable, *words, f"tests/test_{tests}.py"],
        cwd=copy,
        env=env,
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def survives(mutation: Mutation, copy: Path) -> bool:
    """True where the tests pass although the factor is gone."""
    path = copy / "lib" / "fathom" / mutation.path
    text, times = path.read_text(), path.stat()
    if text.count(mutation.old) != 1:
        sys.exit(f"{mutation.path}: {mutation.old!r} is there {text.count(mutation.old)} times")
    path.write_text(text.replace(mutation.old, mutation.new))
    alive = passes(mutation.tests, copy)
    path.write_text(text)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return alive


def main() -> int:
    """Try every mutation; the exit code is the number of survivors."""
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "fathom"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".venv", ".git", "build"))
        for tests in dict.fromkeys(mutation.tests for mutation in MUTATIONS):
            if not passes(tests, copy):
                sys.exit(f"tests/test_{tests}.py fails before anything is removed")
        for mutation in MUTATIONS:
            alive = survives(mutation, copy)
            survivors += alive
            print(f"{'SURVIVED' if alive else 'caught'}: {mutation.what}", flush=True)
    return survivors


if __name__ == "__main__":
    sys.exit(main())
