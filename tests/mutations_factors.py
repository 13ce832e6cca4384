"""The factors of gamma_0 and of momentum, and parts of transformers and stages that are removed."""

from mutations_law import Mutation

STACK, AUTOGRAD = "networks/stack.py", "training/autograd.py"
LM, CONV = "networks/families/transformer.py", "networks/families/resconv.py"
FACTORS = [
    Mutation(
        "gamma_0 in the forward pass",
        STACK,
        '.mult.at(run) / (run.net.gamma_0 if role == "readout" else 1)',
        ".mult.at(run)",
        "slips",
    ),
    Mutation(
        "a momentum that gamma_0 does not divide",
        AUTOGRAD,
        "velocity.mul_(self.optim.momentum)",
        "velocity.mul_(self.optim.momentum / self.nets.runs[0].net.gamma_0**2)",
        "slips",
    ),
    Mutation("what momentum keeps", AUTOGRAD, "moves = self.moments", "pass", "by_hand"),
    Mutation(
        "a norm after the addition",
        LM,
        'norm(stream, name) if net.placement == "post" else stream',
        "stream",
        "by_hand",
    ),
    Mutation(
        "the stream that a parallel MLP sees",
        LM,
        "    if net.parallel:\n        return",
        "    if False:\n        return",
        "by_hand",
    ),
    Mutation(
        "a bias of attention",
        LM,
        'apply(at[f"bias {i}"], h) if net.bias else h',
        "h",
        "by_hand",
    ),
    Mutation(
        "the norm before the read-out",
        LM,
        "apply(first + 1, apply(first, h)) if net.affine else h",
        "h",
        "by_hand",
    ),
    Mutation(
        "a transition to twice the channels",
        CONV,
        "stream = convolved(net, apply, first, stream, norm=False)",
        "stream = phi(convolved(net, apply, first, stream, norm=False))",
        "by_hand",
    ),
]
