"""The factors of the law, of effective depth and of the infinite limit that are removed."""

from typing import NamedTuple


class Mutation(NamedTuple):
    """A factor, where it stands, what it is spoiled to, and which tests must notice."""

    what: str
    path: str
    old: str
    new: str
    tests: str


TABLES = "networks/parametrization.py"
LAW = [
    Mutation(
        "1/sqrt(L) in the limit",
        "theory/solution.py",
        "return self.beta / self.depth**0.5",
        "return self.beta",
        "theory_dmft_linear",
    ),
    Mutation(
        "1/L of a kernel's step",
        "theory/flow.py",
        "rate = _check(kx, depth, beta, readout), beta**2 / depth",
        "rate = _check(kx, depth, beta, readout), beta**2",
        "theory_flow",
    ),
    Mutation(
        "the equal-time term",
        "theory/sites.py",
        "found[:, own, past + own] = readout[:, None] * self.bend[-1][:, new]",
        "pass",
        "theory_dmft",
    ),
    Mutation(
        "the memory of responses",
        "theory/sites.py",
        "self.memory[block, new, : new.stop] = memory + branch * answer",
        "self.memory[block, new, : new.stop] = memory",
        "theory_dmft",
    ),
    Mutation(
        "the slope of phi in the forward response",
        "theory/sites.py",
        "found = self.responses.forward(block, past) * slope[:, None, :past]",
        "found = self.responses.forward(block, past)",
        "theory_dmft",
    ),
    Mutation(
        "antithetic sites",
        "theory/sites.py",
        "backward = np.concatenate([backward, -backward])",
        "backward = np.concatenate([backward, backward])",
        "theory_dmft",
    ),
    Mutation(
        "the bend of phi in responses",
        "theory/responses.py",
        "turned += self.row * bend[:, None]",
        "pass",
        "theory_dmft_responses",
    ),
    Mutation(
        "what h answers in a linear limit",
        "theory/linear_dmft.py",
        "answer = stream[block, new, fields.at(BACKWARD, block)]",
        "answer = 0 * stream[block, new, fields.at(BACKWARD, block)]",
        "theory_dmft_linear",
    ),
    Mutation(
        "what g answers in a linear limit",
        "theory/linear_dmft.py",
        "answer = gradient[block + 1, new, fields.at(FORWARD, block)]",
        "answer = 0 * gradient[block + 1, new, fields.at(FORWARD, block)]",
        "theory_dmft_linear",
    ),
    Mutation(
        "lengths cubed over all paths",
        "depth/effective.py",
        "three + 3 * (two + one) + number",
        "three + 3 * two + number",
        "depth_paths",
    ),
    Mutation(
        "the largest beta of a branch",
        TABLES,
        "(total - max(betas)) - 1",
        "(total - min(betas)) - 1",
        "law_account",
    ),
    Mutation(
        "signs of Adam's first step",
        "measurement/one_step.py",
        "step = h.abs().sum(-1, keepdim=True) * delta.sign()",
        "step = h.abs().sum(-1, keepdim=True) * delta",
        "law_account",
    ),
    Mutation(
        "the sum over all paths",
        "law/formula.py",
        "2 * math.log2(depth) + math.log2(depth + 3) + depth - 3",
        "2 * math.log2(depth) + math.log2(depth + 3) - 3",
        "law_account",
    ),
    Mutation(
        "stopping where -3/2 is seen",
        "law/hazards.py",
        "np.where(inside.any(1), inside.argmax(1), SWEEPS - 1)",
        "np.zeros(REPEATS, int)",
        "law_account",
    ),
]
