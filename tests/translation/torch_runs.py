"""A run that changes between PyTorch and `oxe.pytorch`, and back."""

import copy
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

SHAPES = {"bias": (3,), "kernel": (2, 3), "square": (2, 2)}
MATRICES = {"kernel": (2, 3), "square": (2, 2)}
UNCOUNTED = ("SGD", "Muon")  # PyTorch stores no `step`


def shapes_of(name):
    return MATRICES if name == "Muon" else SHAPES


def in_float64(test):
    """The test in float64 on both sides; Muon without PyTorch's casts to bfloat16."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        before, cast = torch.get_default_dtype(), torch.Tensor.bfloat16
        torch.set_num_threads(1)  # more threads only wait for each other
        torch.set_default_dtype(torch.float64)
        torch.Tensor.bfloat16 = lambda x: x.double().clone()
        try:
            with jax.enable_x64(True):
                test(*args, **kwargs)
        finally:
            torch.set_default_dtype(before)
            torch.Tensor.bfloat16 = cast

    return run


def weights(shapes=SHAPES, seed=0):
    rng = np.random.default_rng(seed)
    return {path: rng.normal(size=shape) for path, shape in shapes.items()}


def gradients(count, shapes=SHAPES, seed=0):
    """Random ones, a fifth of whose entries are 0."""
    rng = np.random.default_rng(1000 + seed)
    return [
        {
            path: rng.normal(size=shape) * (rng.random(shape) >= 0.2)
            for path, shape in shapes.items()
        }
        for _ in range(count)
    ]


class TorchRun:
    """An optimizer of PyTorch with its weights, by path."""

    def __init__(self, name, first, options, groups=None, saved=None):
        self.weights = {
            path: torch.nn.Parameter(torch.tensor(np.array(x)))
            for path, x in first.items()
        }
        given = [*self.weights.values()]
        if groups is not None:
            given = [
                {**group, "params": [self.weights[p] for p in group["params"]]}
                for group in groups
            ]
        self.optimizer = getattr(torch.optim, name)(given, **options)
        if saved is not None:
            self.optimizer.load_state_dict(copy.deepcopy(saved))

    def go_on(self, rows, scheduler=None):
        """Steps with these gradients; a None is a weight without one."""
        for row in rows:
            for path, weight in self.weights.items():
                weight.grad = None if row[path] is None else torch.tensor(row[path])
            self.optimizer.step()
            if scheduler is not None:
                scheduler.step()
        return self

    def arrays(self):
        return {p: x.detach().numpy().copy() for p, x in self.weights.items()}

    def saved(self):
        return copy.deepcopy(self.optimizer.state_dict())


def go_on_here(tx, state, params, rows):
    """The params and the state after updates with these gradients.

    Without compilation, which would take longer than a few updates.
    """
    params = jax.tree.map(jnp.asarray, params)
    for row in rows:
        us, state = tx.update(jax.tree.map(jnp.asarray, row), state, params)
        params = optax.apply_updates(params, us)
    return params, state


def distance(found, expected, first):
    """The largest difference, over the distance from the first weights."""
    worst = 0.0
    for path, x in expected.items():
        gone = max(np.abs(x - first[path]).max(), 1e-3)
        off = np.abs(np.asarray(found[path]) - x).max()
        assert np.isfinite(off), path
        worst = max(worst, off / gone)
    return worst


def count_of(name, count):
    """What `load_state_dict` must be told for an optimizer that counts nothing."""
    return {"count": count} if name in UNCOUNTED else {}


FIRST, ROWS, OPTIONS = weights(), gradients(11), {"lr": 0.05}


@functools.cache
def stopped():
    """A run of AdamW: the weights and the `state_dict` after ten updates, and the
    weights after 11."""
    run = TorchRun("AdamW", FIRST, OPTIONS).go_on(ROWS[:10])
    return run.arrays(), run.saved(), run.go_on(ROWS[10:]).arrays()


def changed(saved, change):
    """A copy of a `state_dict` that the function has changed."""
    saved = copy.deepcopy(saved)
    change(saved)
    return saved
