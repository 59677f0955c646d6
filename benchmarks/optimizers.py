"""Our optimizers, Optax's nearest, PyTorch's, and one pass over the necessary bytes.

Ratios are to Optax's step. Optax's and ours are compiled twice, in the order Optax's,
ours, ours, Optax's, because the program compiled first is faster. A bfloat16 leaf has
float32 state in both: Optax's is given float32 weights and gradients, and its updates
are rounded. PyTorch's state has the dtype of its weights. On a GPU, PyTorch is measured
if it was built for CUDA.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import timing
from benchmarks.pairs import PAIRS
from benchmarks.report import of_cases, table
from benchmarks.timing import Entry
from benchmarks.trees import TITLES, TREES, gradients


def arguments(parser):
    of_cases(parser, TREES, "--trees")
    of_cases(parser, PAIRS)


def wide(tx):
    """For half-precision params: computes in float32 and rounds the updates."""

    def widened(tree):
        return jax.tree.map(lambda x: x.astype(jnp.float32), tree)

    def update(grads, state, params):
        us, state = tx.update(widened(grads), state, widened(params))
        return jax.tree.map(lambda u, g: u.astype(g.dtype), us, grads), state

    return optax.GradientTransformation(lambda params: tx.init(widened(params)), update)


def of_torch(kind, options, how, params, grads):
    """PyTorch's step in place; None if it lacks this form or is not installed."""
    # Otherwise its threads spin after a step, and slow the program that runs next.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        import torch
    except ImportError:
        return None
    where = "cpu" if jax.default_backend() == "cpu" else "cuda"
    if where == "cuda" and not torch.cuda.is_available():
        return None

    def tensor(x):
        dtype = torch.bfloat16 if x.dtype == jnp.bfloat16 else torch.float32
        return torch.tensor(np.asarray(x, np.float32)).to(where, dtype)

    def step():
        optimizer.step()
        if where == "cuda":
            torch.cuda.synchronize()

    weights = [torch.nn.Parameter(tensor(x)) for x in jax.tree.leaves(params)]
    for weight, grad in zip(weights, jax.tree.leaves(grads), strict=True):
        weight.grad = tensor(grad)
    try:
        optimizer = getattr(torch.optim, kind)(
            weights, lr=1e-3, **options, **{how: True}
        )
        step()
    except (TypeError, RuntimeError):  # no such form, or not for these options
        return None

    def timed():
        (row,) = timing.seconds([step], 1)
        return 1e3 * row[0]

    return timing.Program(f"PyTorch, {how}", timed, {})


def run(args):
    for tree in args.trees:
        params = TREES[tree](args.quick)
        grads = gradients(params)
        count = sum(x.size for x in jax.tree.leaves(params))
        for name in args.only:
            ours, theirs, torchs = PAIRS[name]
            shim = wide if tree == "half" else lambda tx: tx
            base, own = timing.build_both(
                ("Optax", Entry(shim(theirs())), params, grads),
                ("ours", Entry(ours()), params, grads),
            )
            others = [own, timing.floor(count, own.facts["fewest"])]
            if torchs:
                forms = [
                    of_torch(*torchs, x, params, grads) for x in ("foreach", "fused")
                ]
                others += [form for form in forms if form]
            yield table(
                "optimizers", f"{name}: {title(tree, args)}", base, others, args.repeats
            )


def title(tree, args):
    return f"{TITLES[tree]}{', a tenth of it' * args.quick}"
