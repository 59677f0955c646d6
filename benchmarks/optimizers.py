"""Ours, Optax's nearest, PyTorch's, and one pass over the bytes that have to be moved.

Ratios are to Optax's step; both are built twice, in the order of a palindrome, for what
is built first is faster. A bfloat16 leaf has float32 state in both: Optax's is given
float32 weights and gradients for that, and its updates are rounded; PyTorch's state is
of its weights' dtype. On a GPU PyTorch is there if it was built for CUDA.
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
from benchmarks.trees import SAID, TREES, gradients


def arguments(parser):
    of_cases(parser, TREES, "--trees")
    of_cases(parser, PAIRS)


def wide(tx):
    """Of half-precision params with a state as of float32 ones."""

    def widened(tree):
        return jax.tree.map(lambda x: x.astype(jnp.float32), tree)

    def update(grads, state, params):
        us, state = tx.update(widened(grads), state, widened(params))
        return jax.tree.map(lambda u, g: u.astype(g.dtype), us, grads), state

    return optax.GradientTransformation(lambda params: tx.init(widened(params)), update)


def of_torch(kind, options, how, params, grads):
    """PyTorch's step in place; None where it has no such form or is not installed."""
    # Its threads would else spin for a while, and slow the step that comes next.
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
    except (TypeError, RuntimeError):  # no such form, or not for these
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
                "optimizers", f"{name}: {said(tree, args)}", base, others, args.repeats
            )


def said(tree, args):
    return f"{SAID[tree]}{', a tenth of it' * args.quick}"
