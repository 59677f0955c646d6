"""Runs of a model on batches: the trained leaves, the batches, and the loops."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_extras._check_values import is_traced, transformation
from optax_extras._errors import named, named_result, refuse, refuse_kind
from optax_extras._numerics import float_dtype
from optax_extras._types import Params, State
from optax_extras.lab._checks_of_data import check_returns_scalar


def update(tx: Any, loss: Any, params: Params, state: State) -> Any:
    """((params, state) after one update, the loss before it)."""
    value, grads = jax.value_and_grad(loss)(params)
    extra = {"value": value, "grad": grads, "value_fn": loss}
    tx = optax.with_extra_args_support(tx)
    updates, state = tx.update(grads, state, params, **extra)
    return (optax.apply_updates(params, updates), state), value


def measure_ramp(
    make_tx: Any, depends: Any, rates: Any, loss_at: Any, params: Params, places: Any
) -> jax.Array:
    """The losses (n,) before the updates of a run, each with its learning rate.

    `depends` says of each leaf of a state whether it depends on the learning rate;
    `loss_at` gives the loss on the batch at each of `places`.
    """

    def step(carry, at):
        params, state = carry
        rate, place = at
        tx = make_tx(rate)
        old, tree = jax.tree.flatten(state)
        fresh = jax.tree.leaves(tx.init(params))
        leaves = zip(depends, old, fresh, strict=True)
        state = tree.unflatten(b if changed else a for changed, a, b in leaves)
        return update(tx, loss_at(place), params, state)

    start = (params, make_tx(rates[0]).init(params))
    return jax.lax.scan(step, start, (rates, places))[1].astype(float_dtype())


def measure_end(tx: Any, loss_at: Any, params: Params, places: Any) -> jax.Array:
    """The mean loss of the last tenth of a run, inf if the run diverged."""

    def step(carry, place):
        return update(tx, loss_at(place), *carry)

    losses = jax.lax.scan(step, (params, tx.init(params)), places)[1]
    losses = losses.astype(float_dtype())
    mean = jnp.mean(_last_tenth(losses))
    return jnp.where(jnp.all(jnp.isfinite(losses)), mean, jnp.inf)


def measure_unmoved(loss_at: Any, params: Params, places: Any) -> jax.Array:
    """The mean loss of the params on the batches of the last tenth of a run."""
    losses = jax.lax.map(lambda place: loss_at(place)(params), _last_tenth(places))
    return jnp.mean(losses.astype(float_dtype()))


def _last_tenth(xs: jax.Array) -> jax.Array:
    return xs[-max(len(xs) // 10, 1) :]


def depends_on_rate(make_tx: Any, params: Params, rates: Any) -> tuple[bool, ...]:
    """The leaves of the state `make_tx(rate).init(params)` that depend on the rate.

    Params of ones stand for the params, which may be traced.
    """
    ones = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), params)
    with jax.ensure_compile_time_eval():
        init = jax.jit(lambda rate, ones: jax.tree.leaves(make_tx(rate).init(ones)))
        states = init(rates[0], ones), init(rates[-1], ones)

    def same(a, b):
        is_key = jnp.issubdtype(jnp.result_type(a), jax.dtypes.prng_key)
        return is_key or np.array_equal(a, b, equal_nan=True)

    return tuple(not same(a, b) for a, b in zip(*states, strict=True))


def optimizer_of(make_tx: Any, rate: Any) -> optax.GradientTransformation:
    """The optimizer that `make_tx` returns; its errors begin with its own name."""
    name = getattr(getattr(make_tx, "func", make_tx), "__name__", "make_tx")
    tx = named(name, lambda: make_tx(rate))()
    return named_result(name, transformation("make_tx", tx, "return"))


def split(key: Any, seeds: int) -> Any:
    """A key for each seed, or None: without a key there is one seed."""
    if key is None and seeds > 1:
        refuse("key", "be given with several seeds", key)
    return None if key is None else jax.random.split(key, seeds)


def prepare(
    argument: str, loss: Any, params: Params, batches: Any, keys: Any, steps: int
) -> tuple[Callable[..., Any], list[Any], Any]:
    """The loss on one of the batches, the trained leaves of each seed, the batches.

    The loss is a function of the batches and of the place of one; it returns a function
    of the trained leaves. `argument` is its name in an error.
    """
    trained, rebuild = _take_apart(_models(params, keys))
    batches = _stack(batches, steps)

    def loss_at(batches, place):
        batch = jax.tree.map(
            lambda x: jax.lax.dynamic_index_in_dim(x, place, 0, False), batches
        )
        return lambda trained: loss(rebuild(trained), batch)

    def first(batches, trained):
        return loss_at(batches, 0)(trained)

    check_returns_scalar(argument, jax.eval_shape(first, batches, trained[0]))
    return loss_at, trained, batches


def stack_seeds(trained: list[Any], keys: Any, batches: Any, steps: int) -> Any:
    """The params of all seeds, and the places of their batches, (seeds, steps)."""
    params = jax.tree.map(lambda *xs: jnp.stack(xs), *trained)
    total = len(jax.tree.leaves(batches)[0])
    orders = jnp.arange(total)[None]
    if keys is not None:
        orders = jax.vmap(lambda key: jax.random.permutation(key, total))(keys)
    return params, orders[:, jnp.arange(steps) % total]


def _models(params: Params, keys: Any) -> list[Any]:
    """The params of each seed."""
    if not callable(params) or not jax.tree_util.all_leaves([params]):
        return [params] * (1 if keys is None else len(keys))
    if keys is None:
        refuse("key", "be given where `params` is a function", keys)
    return [params(jax.random.fold_in(key, 1)) for key in keys]


def _take_apart(models: list[Any]) -> tuple[list[Any], Callable[..., Any]]:
    """The trained leaves of each model, and a function from these to a model.

    They are a tree like the model, with None for each leaf that is not trained; the
    function fills these in from the first model.
    """
    paths, tree = jax.tree.flatten_with_path(models[0])
    frozen = [None if _is_trained(*pair) else pair[1] for pair in paths]
    if all(x is not None for x in frozen):
        refuse_kind("params", "hold something to train", models[0])

    def trained(model):
        pairs = zip(jax.tree.leaves(model), frozen, strict=True)
        leaves = [_as_array(x) if fixed is None else None for x, fixed in pairs]
        return jax.tree.unflatten(tree, leaves)

    def rebuild(params):
        new = iter(jax.tree.leaves(params))
        leaves = [next(new) if fixed is None else fixed for fixed in frozen]
        return jax.tree.unflatten(tree, leaves)

    return [trained(model) for model in models], rebuild


def _is_trained(path: Any, leaf: Any) -> bool:
    """Whether a leaf is a parameter, rather than a function or a layer's key."""
    if not hasattr(leaf, "dtype") and not isinstance(leaf, int | float | complex):
        return False  # a function, for example
    dtype = jnp.result_type(leaf)
    # Flags, and the sources of random numbers: keys and, in Flax, their counts.
    untrained = jnp.bool_, jnp.uint32, jax.dtypes.prng_key
    if any(jnp.issubdtype(dtype, kind) for kind in untrained):
        return False
    if not jnp.issubdtype(dtype, jnp.floating):
        name = f"params{jax.tree_util.keystr(path)}"
        got = jax.ShapeDtypeStruct(np.shape(leaf), dtype)
        refuse_kind(name, "be of floating numbers", got)
    return True


def _stack(batches: Any, steps: int) -> Any:
    """A tree of arrays whose leading axis counts the batches."""
    if _is_stream(batches):
        found = []
        with progress(steps, "batch") as advance:
            for batch in itertools.islice(batches, steps):
                found.append(batch)
                advance(1)
        if not found:
            refuse("batches", "hold a batch", batches)
        found = [batch for batch in found if not _is_smaller(batch, found[0])]
        shapes = {str(jax.tree.map(np.shape, batch)) for batch in found}
        if len(shapes) != 1:
            arrays = isinstance(batches, list) and jax.tree_util.all_leaves(found)
            hint = "A list is a list of batches: give a tuple of arrays." * arrays
            refuse("batches", "be of one shape each", sorted(shapes), hint)
        batches = jax.tree.map(_stack_leaves, *found)
    batches = jax.tree.map(_as_batches, batches)
    shapes = [x.shape for x in jax.tree.leaves(batches)]
    totals = {shape[:1] for shape in shapes}
    if len(totals) != 1 or totals & {(), (0,)}:
        must = "hold arrays with one leading axis, of the batches"
        refuse("batches", must, shapes)
    return batches


def _is_smaller(batch: Any, full: Any) -> bool:
    """Whether a batch differs from a full one only in that it has fewer examples."""
    if jax.tree.structure(batch) != jax.tree.structure(full):
        return False
    shapes = [
        [tuple(np.shape(x)) for x in jax.tree.leaves(tree)] for tree in (batch, full)
    ]
    return shapes[0] != shapes[1] and all(
        len(a) == len(b) and a[:1] <= b[:1] and a[1:] == b[1:]
        for a, b in zip(*shapes, strict=True)
    )


def _stack_leaves(*xs: Any) -> Any:
    """By NumPy, which compiles nothing, except for what only JAX can stack."""
    for x in xs:
        if isinstance(x, jax.Array) and (
            is_traced(x) or jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        ):
            return jnp.stack(xs)
    return np.stack(xs)


def _is_stream(batches: Any) -> bool:
    """Whether it is an iterable of batches rather than a tree of arrays."""
    if isinstance(batches, list):
        return True
    if not isinstance(batches, Iterable) or hasattr(batches, "shape"):
        return False
    is_leaf = isinstance(batches, Iterator) or jax.tree_util.all_leaves([batches])
    return is_leaf and not isinstance(batches, str | bytes)


def _as_batches(leaf: Any) -> Any:
    array = _as_array(leaf)
    kinds = np.number, np.bool_, jax.dtypes.prng_key
    if not any(jnp.issubdtype(array.dtype, kind) for kind in kinds):
        refuse_kind("batches", "hold arrays of numbers", leaf)
    return array


def _as_array(x: Any) -> Any:
    """A JAX array as it is; else a NumPy array, which jit takes without compiling."""
    return x if isinstance(x, jax.Array) else np.asarray(x)


@contextmanager
def progress(total: int, unit: str) -> Iterator[Callable[[int], object]]:
    """Shows a bar after two seconds, if tqdm is installed; yields its `update`."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda more: None
        return
    with tqdm(total=total, unit=unit, delay=2, leave=False) as bar:
        yield bar.update
