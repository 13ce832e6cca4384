"""The factors that `make mutate` removes, one by one."""

from mutations_factors import FACTORS
from mutations_law import LAW, Mutation

KERNELS = "training/kernels"
LOOPS, ATTENTION = f"{KERNELS}/residual.py", f"{KERNELS}/attention.py"
TRANSFORMER = f"{KERNELS}/transformer.py"
SMOOTH = f"{KERNELS}/smooth.py"
PARTS, STACK, PLAN = f"{KERNELS}/operations.py", "networks/stack.py", "sweeps/plan.py"
AUTOGRAD, TRAIN = "training/autograd.py", "training/train.py"
TABLES = "networks/parametrization.py"
COMPILED = "training/compiled.py"
LINEARISED, LM = "networks/families/linearised.py", "networks/families/transformer.py"
LAYERS, CONV = "networks/layers.py", "networks/families/resconv.py"
FREE = "    if True:\n        product"
ALIKE = 'rate(run, "block")'
NO_ROLE = 'EPSILON * rule(run, "readout")'
MUTATIONS = [
    Mutation("1/sqrt(L) on the branch", TABLES, "Power(0, -a), rules", "ONE, rules", "measurement"),
    Mutation(
        "1/N of Adam's hidden rate",
        TABLES,
        "adam=Power(-1), eps=Power(-1), decay=Power(1))\n# Max",
        "eps=Power(-1), decay=Power(1))\n# Max",
        "scaling",
    ),
    Mutation(
        "Adam's factor of depth", TABLES, "adam=Power(-1, -g)", "adam=Power(-1)", "parametrizations"
    ),
    Mutation(
        "a gain's factor of depth", TABLES, "adam=Power(0, -g)", "adam=ONE", "parametrizations"
    ),
    Mutation(
        "1/N of the read-out",
        TABLES,
        "Rule(init=Power(-1), sgd=Power(-1)",
        "Rule(sgd=Power(-1)",
        "scaling",
    ),
    Mutation(
        "mean subtraction", "networks/layers.py", "h - h.mean(2, keepdim=True)", "h", "families"
    ),
    Mutation("mean subtraction in loops", LOOPS, "* (z[i, j] - mean)", "* z[i, j]", "kernels"),
    Mutation("its gradient", LOOPS, "(down[i, j] - mean)", "down[i, j]", "kernels"),
    Mutation("the branch in a gradient", LOOPS, "net.branch * (ONE", "(ONE", "kernels"),
    Mutation("a multiplier", LOOPS, "net.mult[0], at.batch, F", "ONE, at.batch, F", "kernels"),
    Mutation("a multiplier in a gradient", LOOPS, "mult, inputs, T", "ONE, inputs, T", "kernels"),
    Mutation("the stream", LOOPS, "net.keep * stream[i, j]", "ZERO", "kernels"),
    Mutation("its gradient, pre", LOOPS, "at.spare, net.keep", "at.spare, ZERO", "kernels"),
    Mutation("its gradient, post", LOOPS, "True, net.keep", "True, ZERO", "kernels"),
    Mutation("the slope in a gradient", LOOPS, "+ slope[i, j] * g[i, j]", "+ g[i, j]", "kernels"),
    Mutation("the slope of tanh", SMOOTH, "ONE - t * t", "ONE", "smooth"),
    Mutation("a part of that of GELU", SMOOTH, "+ z * DENSITY * bell", "", "smooth"),
    Mutation("frozen ends", LOOPS, "    if net.ends:\n        product", FREE, "kernels"),
    Mutation("Adam's correction", PARTS, " / (1 - BETA_1 ** (step + 1))", "", "kernels"),
    Mutation("its square's", PARTS, "math.sqrt(1 - BETA_2 ** (step + 1))", "1.0", "kernels"),
    Mutation("epsilon's correction", PARTS, "eps * unbias", "eps", "kernels"),
    Mutation("half of the square", LOOPS, "out[j] * out[j] / 2", "out[j] * out[j]", "kernels"),
    Mutation("squares too large", PARTS, "factor = LOST", "factor = ZERO", "transformers"),
    Mutation(
        "a branch's multiplier",
        TRANSFORMER,
        "taken, last = branch * mult[MIX]",
        "taken, last = branch",
        "transformers",
    ),
    Mutation(
        "a factor of attention",
        ATTENTION,
        "product(SHARP, scores, True",
        "product(ONE, scores, True",
        "transformers",
    ),
    Mutation("what a softmax takes back", ATTENTION, " - sums[query])", ")", "transformers"),
    Mutation(
        "a token sees none after it",
        ATTENTION,
        "seen if query >= first else NEVER",
        "seen",
        "transformers",
    ),
    Mutation(
        "the slope of GELU", TRANSFORMER, " *= at.slope[i, row, j]", " *= ONE", "transformers"
    ),
    Mutation(
        "an embedding's multiplier", TRANSFORMER, "mult[EMBED] * down", "ONE * down", "transformers"
    ),
    Mutation(
        "the share of a rate", TRANSFORMER, "rate = share * net", "rate = net", "transformers"
    ),
    Mutation("the share of a decay", TRANSFORMER, "ONE - share * net", "ONE - net", "transformers"),
    Mutation("what is not a number", SMOOTH, " + ZERO * y", "", "smooth"),
    Mutation(
        "a factor of its scores", ATTENTION, "product(SHARP, k", "product(ONE, k", "transformers"
    ),
    Mutation(
        "and of the keys'",
        ATTENTION,
        "(SHARP, scores, False",
        "(ONE, scores, False",
        "transformers",
    ),
    Mutation(
        "a branch on its way back",
        TRANSFORMER,
        "net.branch * mult[DOWN]",
        "mult[DOWN]",
        "transformers",
    ),
    Mutation("the other", TRANSFORMER, "net.branch * mult[MIX]", "mult[MIX]", "transformers"),
    Mutation(
        "gradients begin at 0",
        TRANSFORMER,
        "g.embed[:], g.places[:] = ZERO, ZERO",
        "pass",
        "transformers",
    ),
    Mutation("and so the stream's", TRANSFORMER, "at.stream[:] = ZERO", "pass", "transformers"),
    Mutation(
        "the count of steps", TRANSFORMER, "start + step, shares", "step, shares", "transformers"
    ),
    Mutation(
        "the mean over places",
        TRANSFORMER,
        "share * back[row // context, j]",
        "back[row // context, j]",
        "transformers",
    ),
    Mutation(
        "what a norm after the sum hands back",
        TRANSFORMER,
        "at.inner[:] += down",
        "pass",
        "transformers",
    ),
    Mutation("gains of a branch", TRANSFORMER, "*= mult * gains[j]", "*= mult", "transformers"),
    Mutation(
        "both branches of a layer at once",
        TRANSFORMER,
        "with_mlp = ONE if",
        "with_mlp = ZERO if",
        "transformers",
    ),
    Mutation(
        "the share of its step", COMPILED, "range(start, end)", "range(end - start)", "transformers"
    ),
    Mutation("the share of a step", COMPILED, "schedule(self.optim, step)", "1.0", "transformers"),
    Mutation("which layer is which", COMPILED, "2, 5, 6, 7", "2, 6, 5, 7", "transformers"),
    Mutation("memory of a card", PLAN, ' and on(machine.device) == "cpu"', "", "progress"),
    Mutation(
        "one thread",
        "training/kernels/blas.py",
        "dll.scipy_openblas_set_num_threads(1)",
        "",
        "kernels",
    ),
    Mutation(
        "kernels of our own", "training/kernels/blas.py", "environ.pop", "environ.get", "kernels"
    ),
    Mutation("a rate per role", "training/compiled.py", "rate(run, layer.role)", ALIKE, "scaling"),
    Mutation("Adam's count", AUTOGRAD, "fill_(step + 1)", "fill_(1)", "kernels"),
    Mutation("epsilon's role", STACK, "EPSILON * rule(run, role)", NO_ROLE, "scaling"),
    Mutation("rules in a shape", STACK, "run.rules, run.base, ", "", "plan"),
    Mutation(
        "a multiplier, by autograd", STACK, "y * along(self.mults[i], y) if", "y if", "kernels"
    ),
    Mutation("He's gain", STACK, "else run.net.init_gain)", "else 1.0)", "families"),
    Mutation("denormals to 0", TRAIN, "denormal(True)", "denormal(False)", "kernels"),
    Mutation("what a checkpoint brings", TRAIN, "here.copy_(", "print(", "checkpoints"),
    Mutation("whose checkpoint", TRAIN, "there == wanted and", "", "checkpoints"),
    Mutation(
        "no pickles", "store.py", "allow_pickle=False) as", "allow_pickle=True) as", "checkpoints"
    ),
    Mutation("stacks of one", PLAN, "net.width % 16 or rows(run) % 16", "False", "plan"),
    Mutation("the memory allowed", PLAN, "return min(fits, size)", "return size", "plan"),
    Mutation(
        "the read-out's nonlinearity",
        "networks/families/resmlp.py",
        "phi(stream) if pre else stream",
        "stream",
        "families",
    ),
    Mutation(
        "the seed of the batches",
        "networks/tasks.py",
        "default_rng([seed, 0]), len",
        "default_rng([0, 0]), len",
        "families",
    ),
    Mutation(
        "the square of a multiplier",
        "measurement/one_step.py",
        "nets.mults[i] ** 2",
        "nets.mults[i]",
        "measurement",
    ),
    Mutation("what a block learns", LINEARISED, "start(i, moved) + ", "", "linearised"),
    Mutation("its start at 0", STACK, "return 0.0", "return 0.1", "linearised"),
    Mutation(
        "the rest", "measurement/linearity.py", "whole - start - linear", "linear", "linearised"
    ),
    Mutation("a head's width", LM, "scale=1 / HEAD", "scale=1 / HEAD**0.5", "lm"),
    Mutation(
        "a decay under SGD that is the same at every size",
        "networks/stack.py",
        "_at_base(run, role) * run.optim.decay",
        "rate(run, role) * run.optim.decay",
        "lm",
    ),
    Mutation("gamma_0 in the rate", STACK, "gamma ** (2 if sgd else 1)", "1", "slips"),
    Mutation(
        "a bias's depth",
        TABLES,
        "_replace(sgd=Power(1, a - g)",
        "_replace(sgd=Power(1)",
        "family_scaling",
    ),
    Mutation("a branch's own draw", AUTOGRAD, "DROPPED, step]", "DROPPED]", "image_families"),
    Mutation("one group beside a copy", LAYERS, "len(h) == 1 and", "False and", "image_families"),
    Mutation("a transition is no branch", CONV, '"transition", w', '"block", w', "family_scaling"),
    Mutation("a decay that falls", AUTOGRAD, "1 - self.share * shrink", "1 - shrink", "lm"),
    Mutation("a share of the rate", AUTOGRAD, "move * self.share", "move", "lm"),
    Mutation("as it was", AUTOGRAD, "part.copy_(nets.weights[i])", "pass", "recorded"),
    Mutation(
        "looks in order",
        "measurement/layer_sizes.py",
        "learn(done, steps",
        "learn(0, steps",
        "measurement",
    ),
    Mutation("where a look begins", TRAIN, "range(start, end", "range(0, end", "train"),
    Mutation("kappa of the formula", "law/formula.py", "kappa * L", "L", "law"),
    Mutation(
        "U's 1/sqrt(d)", "networks/theory_inputs.py", " / np.sqrt(x.shape[-1])", "", "theory_engine"
    ),
    Mutation("a limit's gain", "networks/theory_inputs.py", "run.net.gain", "1.0", "theory_engine"),
    Mutation("95 %", "law/interval.py", "UPPER = 0.975", "UPPER = 0.95", "law"),
    Mutation(
        "variance of the first stage",
        "law/interval.py",
        "own[:first].std(ddof=1)",
        "own.std(ddof=1)",
        "evidence",
    ),
    Mutation("the two steps agree", "claim.py", "agree = all(", "agree = any(", "evidence"),
    Mutation(
        "a control that fails",
        "claim.py",
        "if word == FAILS:\n            return Judged(OUT",
        "if word == HOLDS:\n            return Judged(OUT",
        "evidence",
    ),
    Mutation(
        "other versions", "store.py", "if made_with.endswith(", "if made_with or str(", "journal"
    ),
    Mutation(
        "a checkpoint's end",
        "sweeps/sweep.py",
        'saved.pop(row["key"]).discard()',
        "pass",
        "progress",
    ),
    Mutation("what diverged", "sweeps/sweep.py", "{lost} diverged", "0 diverged", "progress"),
    Mutation(
        "one limit of several",
        "law/convergence.py",
        "where(limit, limits or {})",
        "limit",
        "theory_engine",
    ),
    Mutation(
        "a drift of its own step", "theory/nonlinear.py", "found[-1] += ", "0 * ", "theory_sampled"
    ),
    Mutation(
        "a tuned gap's edges",
        "law/measures.py",
        "rows = _usable(where(table, given))\n    best",
        "rows = where(table, given)\n    best",
        "law_curves",
    ),
    Mutation("the digest of a table", "store.py", "or words[2] != _digest(body)", "", "store"),
    *LAW,
    *FACTORS,
]
