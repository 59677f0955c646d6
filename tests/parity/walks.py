"""Walks of two optimizers under the same gradients, and how far apart they end."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tests.parity.programs import quick_jit

STEPS = 300
SHAPES = {"matrix": (2, 3), "vector": (3,), "scalar": (), "stack": (2, 2, 2)}
MATRICES = {"wide": (2, 3), "tall": (4, 2), "square": (3, 3)}
ONE_LEAF = {"matrix": (3, 4)}  # enough for a rule that is elementwise


def size(shapes):
    return sum(int(np.prod(shape)) for shape in shapes.values())


def gradients(shapes=SHAPES, decades=(-4, 4), seed=0):
    """Random signs over eight decades, and now and then an exact zero."""
    rng = np.random.default_rng(seed)
    shape = (STEPS, size(shapes))
    grads = rng.choice([-1, 1], shape) * 10 ** rng.uniform(*decades, shape)
    grads[rng.random(shape) < 0.02] = 0
    grads[:4, 0] = 0  # a weight that is first met later
    return grads.astype(np.float32).astype(np.float64)  # the same in both precisions


def start(shapes=SHAPES):
    return np.linspace(-2, 3, size(shapes))


def leaves_of(flat, shapes):
    """The leaves that flat rows (..., size) are made of, by name."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])[:-1]
    parts = np.split(flat, ends, axis=-1)
    return {
        name: part.reshape(part.shape[:-1] + shapes[name])
        for name, part in zip(shapes, parts, strict=True)
    }


def flat_of(leaves, shapes, rows=()):
    return np.concatenate([np.reshape(leaves[k], (*rows, -1)) for k in shapes], -1)


def grid(**choices):
    """The grid of all choices, as keyword arguments."""
    return [
        dict(zip(choices, x, strict=True)) for x in itertools.product(*choices.values())
    ]


def every_setting(numbers, choices):
    return [{**some, **choice} for some in numbers for choice in choices]


def pairwise(numbers, choices):
    """Settings in which each two choices meet, and each of the numbers is tried.

    The first is the default, the second has all options on.
    """

    def pairs(choice):
        return {*itertools.combinations(map(str, choice.items()), 2)}

    covering = [choices[0], choices[-1]]
    every = set().union(*map(pairs, choices))
    while missing := every.difference(*map(pairs, covering)):
        covering.append(max(choices, key=lambda choice: len(pairs(choice) & missing)))
    order = [numbers[0], numbers[-1], *numbers[1:-1]]
    count = max(len(order), len(covering))
    return [
        {**order[i % len(order)], **covering[i % len(covering)]} for i in range(count)
    ]


def our_walk(tx, grads, first, shapes=SHAPES, dtype="float64"):
    """The params after every update, the first ones before, flat."""

    @quick_jit
    def run(params, rows):
        def step(carry, g):
            params, state = carry
            u, state = tx.update(g, state, params)
            params = optax.apply_updates(params, u)
            return (params, state), params

        return jax.lax.scan(step, (params, tx.init(params)), rows)[1]

    with jax.enable_x64(dtype == "float64"):
        params, rows = (
            {k: np.asarray(x, dtype) for k, x in leaves_of(flat, shapes).items()}
            for flat in (first, grads)
        )
        walk = {k: np.asarray(x, np.float64) for k, x in run(params, rows).items()}
    return np.concatenate([first[None], flat_of(walk, shapes, [len(grads)])])


def difference(walk, reference):
    """The largest distance between two walks over the distance travelled, each axis."""
    assert np.all(np.isfinite(reference))
    travelled = np.abs(np.diff(reference, axis=0)).sum(0)
    assert np.all(travelled > 0)
    return (np.abs(walk - reference).max(0) / travelled).max()


def torch_walk(
    make, grads, first, shapes=SHAPES, scheduler=None, look=None, dtype="float64"
):
    """The parameters of PyTorch after every step, the first ones before, flat.

    `look(optimizer, params)` after each step, if there is one, makes a second result.
    """
    import torch

    torch.set_num_threads(1)  # more would wait for each other at every small product
    first, grads = (x.astype(dtype) for x in (first, grads))
    params = {k: torch.tensor(x) for k, x in leaves_of(first, shapes).items()}
    optimizer = make(list(params.values()))
    driver = scheduler and scheduler(optimizer)
    walk, seen = [first], []
    for rows in grads:
        for name, g in leaves_of(rows, shapes).items():
            params[name].grad = torch.tensor(g)
        optimizer.step()
        if driver:
            driver.step()
        walk.append(flat_of({k: x.numpy().copy() for k, x in params.items()}, shapes))
        if look:
            seen.append(look(optimizer, params))
    return (np.stack(walk), seen) if look else np.stack(walk)


def keras_walk(name, grads, first, shapes=SHAPES, **kw):
    """The variables of Keras after every step; floatx has to be float64."""
    import keras

    optimizer = getattr(keras.optimizers, name)(**kw)
    variables = [keras.Variable(x) for x in leaves_of(first, shapes).values()]
    optimizer.build(variables)

    def step(carry, rows):
        weights, state = optimizer.stateless_apply(carry[1], rows, carry[0])
        return (weights, state), weights

    with jax.enable_x64(True):
        rows = [jnp.asarray(x) for x in leaves_of(grads, shapes).values()]
        carry = [v.value for v in variables], [v.value for v in optimizer.variables]
        run = quick_jit(lambda carry: jax.lax.scan(step, carry, rows)[1])
        walk = dict(zip(shapes, map(np.asarray, run(carry)), strict=True))
    assert all(x.dtype == np.float64 for x in walk.values())
    return np.concatenate([first[None], flat_of(walk, shapes, [len(grads)])])
