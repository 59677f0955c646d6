"""Walks of two optimizers with the same gradients, and the distance between them."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tests.parity.programs import quick_jit

STEPS = 120
SHAPES = {"matrix": (2, 3), "vector": (3,), "scalar": (), "stack": (2, 2, 2)}
MATRICES = {"wide": (2, 3), "tall": (4, 2), "square": (3, 3)}
ONE_LEAF = {"matrix": (3, 4)}  # enough for an elementwise rule


def size(shapes):
    return sum(int(np.prod(shape)) for shape in shapes.values())


def gradients(shapes=SHAPES, decades=(-4, 4), seed=0, steps=STEPS):
    """Random signs, sizes over eight decades, and 2 % exact zeros."""
    rng = np.random.default_rng(seed)
    shape = (steps, size(shapes))
    grads = rng.choice([-1, 1], shape) * 10 ** rng.uniform(*decades, shape)
    grads[rng.random(shape) < 0.02] = 0
    grads[:4, 0] = 0  # a weight whose first gradients are 0
    return grads.astype(np.float32).astype(np.float64)  # the same in both precisions


def start(shapes=SHAPES):
    return np.linspace(-2, 3, size(shapes))


def leaves_of(flat, shapes):
    """Split flat rows (..., size) into the leaves, by name."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])[:-1]
    parts = np.split(flat, ends, axis=-1)
    return {
        name: part.reshape(part.shape[:-1] + shapes[name])
        for name, part in zip(shapes, parts, strict=True)
    }


def flat_of(leaves, shapes, rows=()):
    return np.concatenate([np.reshape(leaves[k], (*rows, -1)) for k in shapes], -1)


def grid(**choices):
    """Every combination of the choices, as keyword arguments."""
    return [
        dict(zip(choices, x, strict=True)) for x in itertools.product(*choices.values())
    ]


def every_setting(numbers, choices):
    return [{**some, **choice} for some in numbers for choice in choices]


def pairwise(numbers, choices):
    """Settings with every pair of choices and each of the numbers.

    The first setting is the default; the second has all options on.
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


@functools.cache
def in_one_scan(steps):
    """A program of optimizers, each of which makes the next (weights, state).

    It returns the last pairs, and the weights after every step.
    """

    def step(carries, g):
        carries = [one(*x, g) for one, x in zip(steps, carries, strict=True)]
        return carries, [weights for weights, _ in carries]

    return quick_jit(functools.partial(jax.lax.scan, step))


@functools.cache
def updating(tx):
    def step(params, state, g):
        u, state = tx.update(g, state, params)
        return optax.apply_updates(params, u), state

    return step


def stateless(optimizer):
    """The same of an optimizer of Keras."""
    return lambda weights, state, g: optimizer.stateless_apply(state, g, weights)


def walks_of(steps, carries, rows, first, shapes):
    """The initial weights and those after every step, flat; by eight in a program."""
    found = []
    for i in range(0, len(steps), 8):
        run = in_one_scan(tuple(steps[i : i + 8]))
        found += jax.device_get(run([*carries[i : i + 8]], rows)[1])
    if isinstance(rows, list):  # Keras' weights have no names
        found = [dict(zip(shapes, walk, strict=True)) for walk in found]
    count = [len(next(iter(found[0].values())))]
    return [np.concatenate([first[None], flat_of(x, shapes, count)]) for x in found]


def our_walks(txs, grads, first, shapes=SHAPES, dtype="float64"):
    """The walk of each optimizer."""
    with jax.enable_x64(dtype == "float64"):
        params, rows = (
            {k: jnp.asarray(x, dtype) for k, x in leaves_of(flat, shapes).items()}
            for flat in (first, grads)
        )
        carries = [(params, tx.init(params)) for tx in txs]
        return walks_of([*map(updating, txs)], carries, rows, first, shapes)


def our_walk(tx, *given, **more):
    (walk,) = our_walks([tx], *given, **more)
    return walk


def difference(walk, reference):
    """The largest distance of two walks over the distance traveled, per axis."""
    assert np.all(np.isfinite(reference))
    traveled = np.abs(np.diff(reference, axis=0)).sum(0)
    assert np.all(traveled > 0)
    return (np.abs(walk - reference).max(0) / traveled).max()


def torch_walk(
    make, grads, first, shapes=SHAPES, scheduler=None, look=None, dtype="float64"
):
    """PyTorch's initial parameters and those after every step, flat.

    With `look`, also a list of ``look(optimizer, params)`` after every step.
    """
    import torch

    torch.set_num_threads(1)  # more threads only wait for each other
    first, grads = (x.astype(dtype) for x in (first, grads))
    params = {k: torch.tensor(x) for k, x in leaves_of(first, shapes).items()}
    optimizer = make(list(params.values()))
    driver = scheduler and scheduler(optimizer)
    walk, seen = [first], []
    rows = {k: torch.tensor(x) for k, x in leaves_of(grads, shapes).items()}
    for t in range(len(grads)):
        for name, x in params.items():
            x.grad = rows[name][t]
        optimizer.step()
        if driver:
            driver.step()
        walk.append(flat_of({k: x.numpy().copy() for k, x in params.items()}, shapes))
        if look:
            seen.append(look(optimizer, params))
    return (np.stack(walk), seen) if look else np.stack(walk)


def keras_in_full_precision(monkeypatch):
    """Keras' mean and norm in float64: its own are float32, whatever they get."""
    from keras.src import ops

    def mean(x, axis=None, keepdims=False):
        return jnp.mean(ops.convert_to_tensor(x), axis, keepdims=keepdims)

    def norm(x, axis, keepdims):
        squares = jnp.square(ops.convert_to_tensor(x))
        return jnp.sqrt(jnp.sum(squares, axis, keepdims=keepdims))

    monkeypatch.setattr(ops, "mean", mean)
    monkeypatch.setattr(ops, "norm", norm)


def keras_walk(name, grads, first, shapes=SHAPES, **kw):
    """Keras' initial variables and those after every step; floatx must be float64."""
    return keras_walks([(name, kw)], grads, first, shapes)[0]


def keras_walks(settings, grads, first, shapes=SHAPES):
    """A walk for each of the settings: a name and its arguments."""
    import keras

    def started(name, kw):
        optimizer = getattr(keras.optimizers, name)(**kw)
        variables = [
            keras.Variable(x, name=k.replace("/", "_"))
            for k, x in leaves_of(first, shapes).items()
        ]
        optimizer.build(variables)
        assert all(v.dtype == "float64" for v in variables)
        state = [v.value for v in optimizer.variables]
        return stateless(optimizer), ([v.value for v in variables], state)

    with jax.enable_x64(True):
        rows = [jnp.asarray(x) for x in leaves_of(grads, shapes).values()]
        steps, carries = zip(*itertools.starmap(started, settings), strict=True)
        return walks_of(steps, carries, rows, first, shapes)
