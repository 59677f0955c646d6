"""A run that changes between PyTorch and `oxe.pytorch`, and back."""

import copy
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

import optax_extras as oxe
from tests.parity.programs import quick_jit

SHAPES = {"bias": (3,), "kernel": (2, 3), "square": (2, 2)}
MATRICES = {"kernel": (2, 3), "square": (2, 2)}
LONGEST = 12  # updates here, in one program for every number of them


def shapes_of(name):
    return MATRICES if name == "Muon" else SHAPES


def weights(shapes=SHAPES, seed=0):
    rng = np.random.default_rng(seed)
    return {path: rng.normal(size=shape) for path, shape in shapes.items()}


def gradients(count, shapes=SHAPES, seed=0, zeros=0.2):
    """Random ones, some of whose entries are 0; `zeros`: how many."""
    rng = np.random.default_rng(1000 + seed)
    return [
        {
            path: rng.normal(size=shape) * (rng.random(shape) >= zeros)
            for path, shape in shapes.items()
        }
        for _ in range(count)
    ]


class TorchRun:
    """An optimizer of PyTorch with its weights, by path."""

    def __init__(self, name, first, options, groups=None, saved=None):
        self.weights = {p: torch.nn.Parameter(torch.tensor(x)) for p, x in first.items()}
        given = [*self.weights.values()]
        if groups is not None:
            given = [
                {**group, "params": [self.weights[p] for p in group["params"]]}
                for group in groups
            ]
        self.optimizer = getattr(torch.optim, name)(given, **options)
        if saved is not None:
            self.optimizer.load_state_dict(copy.deepcopy(saved))

    def go_on(self, rows):
        """Steps with these gradients; a None is a weight without one."""
        for row in rows:
            for path, weight in self.weights.items():
                weight.grad = None if row[path] is None else torch.tensor(row[path])
            self.optimizer.step()
        return self

    def arrays(self):
        return {p: x.detach().numpy().copy() for p, x in self.weights.items()}

    def saved(self):
        return copy.deepcopy(self.optimizer.state_dict())


@functools.cache
def _program(name, flags):
    """Some updates of `oxe.pytorch`, for all numbers with one compilation."""

    @quick_jit
    def run(numbers, state, params, rows, count):
        tx = getattr(oxe.pytorch, name)(**dict(flags), **numbers)

        def step(carry, row):
            i, g = row
            params, state = carry
            u, new = tx.update(g, state, params)
            new = optax.apply_updates(params, u), new
            return jax.tree.map(lambda x, y: jnp.where(i < count, x, y), new, carry), ()

        indexed = jnp.arange(LONGEST), rows
        return jax.lax.scan(step, (params, state), indexed)[0]

    return run


def go_on_here(name, options, state, params, rows):
    """The params and the state after updates with these gradients, at most LONGEST.

    Numbers in `options` are traced, so that few programs are compiled.
    """
    numbers = {k: x for k, x in options.items() if is_number(x)}
    flags = tuple((k, x) for k, x in options.items() if k not in numbers)
    more = [{p: np.zeros_like(x) for p, x in params.items()}] * (LONGEST - len(rows))
    stacked = jax.tree.map(lambda *xs: np.stack(xs), *rows, *more)
    run = _program(name, flags)
    return run(numbers, state, params, stacked, len(rows))


def is_number(x):
    items = x if isinstance(x, tuple) else (x,)
    return all(isinstance(item, float) for item in items)


def run_here(tx, state, params, rows):
    """Updates of any optimizer, with a compilation of its own."""
    update = quick_jit(tx.update)
    params = jax.tree.map(jnp.asarray, params)
    for row in rows:
        us, state = update(jax.tree.map(jnp.asarray, row), state, params)
        params = optax.apply_updates(params, us)
    return params, state


def distance(found, expected, begin):
    """The largest difference over the distance from the beginning, by path."""
    worst = 0.0
    for path, x in expected.items():
        gone = max(np.abs(x - begin[path]).max(), 1e-3)
        off = np.abs(np.asarray(found[path]) - x).max()
        assert np.isfinite(off), path
        worst = max(worst, off / gone)
    return worst
