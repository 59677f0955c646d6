"""Runs of a model on batches: the trained leaves, the batches, and the loops."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_extras._errors import named, named_result, refuse, refuse_kind
from optax_extras._numerics import float_dtype
from optax_extras._types import Params, State
from optax_extras._values import is_traced
from optax_extras.lab._checks_of_data import check_returns_scalar


class Program(NamedTuple):
    """Runs of one seed: a loss on batches, in the order that this seed has."""

    loss: Callable[..., jax.Array]
    make_tx: Callable[..., optax.GradientTransformation]
    steps: int
    depends_on_rate: tuple[bool, ...] = ()
    """The leaves of a state that depend on its learning rate; only `ramp` reads it."""

    def ramp(self, rates: Any, params: Params, batches: Any, order: Any) -> jax.Array:
        """One run with a learning rate per update; (n,): the loss before each."""

        def step(carry, at):
            params, state = carry
            rate, place = at
            tx = self.make_tx(rate)
            old, tree = jax.tree.flatten(state)
            fresh = jax.tree.leaves(tx.init(params))
            leaves = zip(self.depends_on_rate, old, fresh, strict=True)
            state = tree.unflatten(b if changed else a for changed, a, b in leaves)
            return self._update(tx, params, state, batches, place)

        start = (params, self.make_tx(rates[0]).init(params))
        return jax.lax.scan(step, start, (rates, self._places(order)))[1]

    def end(self, rate: Any, params: Params, batches: Any, order: Any) -> jax.Array:
        """The mean loss of the last tenth of a run, inf if the run diverged."""
        tx = self.make_tx(rate)

        def step(carry, place):
            params, state = carry
            return self._update(tx, params, state, batches, place)

        start = (params, tx.init(params))
        losses = jax.lax.scan(step, start, self._places(order))[1]
        late = jnp.mean(losses[-self._late :])
        return jnp.where(jnp.all(jnp.isfinite(losses)), late, jnp.inf)

    def unmoved(self, params: Params, batches: Any, order: Any) -> jax.Array:
        """The mean loss of the params on the batches of the last tenth of a run."""

        def loss(place):
            return self.loss(params, _batch(batches, place)).astype(float_dtype())

        return jnp.mean(jax.lax.map(loss, self._places(order)[-self._late :]))

    @property
    def _late(self) -> int:
        return max(self.steps // 10, 1)

    def _places(self, order: Any) -> jax.Array:
        return order[jnp.arange(self.steps) % order.size]

    def _update(self, tx: Any, params: Params, state: State, batches: Any, place: Any):
        """((params, state) after one update, the loss before it)."""
        batch = _batch(batches, place)

        def value_fn(params):
            return self.loss(params, batch)

        value, grads = jax.value_and_grad(value_fn)(params)
        extra = {"value": value, "grad": grads, "value_fn": value_fn}
        tx = optax.with_extra_args_support(tx)
        updates, state = tx.update(grads, state, params, **extra)
        moved = optax.apply_updates(params, updates)
        return (moved, state), value.astype(float_dtype())


def _batch(batches: Any, place: Any) -> Any:
    return jax.tree.map(
        lambda x: jax.lax.dynamic_index_in_dim(x, place, 0, False), batches
    )


def depends_on_rate(make_tx: Any, params: Params, rates: Any) -> tuple[bool, ...]:
    """The leaves of the state `make_tx(rate).init(params)` that depend on the rate.

    Params of ones stand for the params, which may be traced.
    """
    ones = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), params)
    with jax.ensure_compile_time_eval():
        init = jax.jit(lambda rate, ones: jax.tree.leaves(make_tx(rate).init(ones)))
        states = init(rates[0], ones), init(rates[-1], ones)

    def same(a, b):
        if jnp.issubdtype(jnp.result_type(a), jax.dtypes.prng_key):
            return True
        a, b = np.asarray(a), np.asarray(b)
        return np.all((a == b) | ((a != a) & (b != b)))  # NaN is the same as NaN

    return tuple(not same(a, b) for a, b in zip(*states, strict=True))


def optimizer_of(make_tx: Any, rate: Any) -> optax.GradientTransformation:
    """The optimizer that `make_tx` returns; its errors begin with its own name."""
    name = getattr(getattr(make_tx, "func", make_tx), "__name__", "make_tx")
    tx = named(name, lambda: make_tx(rate))()
    if not isinstance(tx, optax.GradientTransformation):
        refuse_kind("make_tx", "return an optax.GradientTransformation", tx)
    return named_result(name, tx)


def split(key: Any, seeds: int) -> Any:
    """A key for each seed, or None: without a key there is one seed."""
    if key is None and seeds > 1:
        refuse("key", "be given with several seeds", key)
    return None if key is None else jax.random.split(key, seeds)


def prepare(
    argument: str, loss: Any, params: Params, batches: Any, keys: Any, steps: int
) -> tuple[Callable[..., jax.Array], list[Any], Any, int]:
    """The loss of the trained leaves, these for each seed, the batches, their number.

    `argument` is the name of the loss in an error.
    """
    trained, rebuild = _take_apart(_models(params, keys))
    batches, total = _stack(batches, steps)

    def loss_of_trained(trained, batch):
        return loss(rebuild(trained), batch)

    def first(trained, batches):
        return loss_of_trained(trained, jax.tree.map(lambda x: x[0], batches))

    check_returns_scalar(argument, jax.eval_shape(first, trained[0], batches))
    return loss_of_trained, trained, batches, total


def all_seeds(trained: list[Any], keys: Any, total: int) -> tuple[Any, jax.Array]:
    """The params and the order of the batches of all seeds, along a leading axis."""
    params = jax.tree.map(lambda *xs: jnp.stack(xs), *trained)
    if keys is None:
        return params, jnp.arange(total)[None]
    return params, jax.vmap(lambda key: jax.random.permutation(key, total))(keys)


def _models(params: Params, keys: Any) -> list[Any]:
    """The params of each seed."""
    made = callable(params) and jax.tree.structure(params) == jax.tree.structure(0)
    if made and keys is None:
        refuse("key", "be given where `params` is a function", keys)
    if not made:
        return [params] * (1 if keys is None else len(keys))
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


def _stack(batches: Any, steps: int) -> tuple[Any, int]:
    """A tree of arrays whose leading axis counts the batches, and their number."""
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
    return batches, totals.pop()[0]


def _is_smaller(batch: Any, full: Any) -> bool:
    """Whether a batch differs from a full one only in that it has fewer examples."""
    if jax.tree.structure(batch) != jax.tree.structure(full):
        return False
    shapes = [
        [tuple(np.shape(x)) for x in jax.tree.leaves(tree)] for tree in (batch, full)
    ]
    return shapes[0] != shapes[1] and all(
        a == b or (0 < len(a) == len(b) and a[0] < b[0] and a[1:] == b[1:])
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
