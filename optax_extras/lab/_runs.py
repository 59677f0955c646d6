"""Runs of a model on batches: what is trained, on what, and by which program."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_extras._errors import named, named_result, refuse, refuse_kind
from optax_extras._numerics import float_dtype
from optax_extras._types import Params, State
from optax_extras.lab._minimize import check_value
from optax_extras.lab._progress import progress


class Program(NamedTuple):
    """Runs for one seed, of a loss on batches that come in an order of its own."""

    loss: Callable[..., jax.Array]
    make_tx: Callable[..., optax.GradientTransformation]
    steps: int
    renewed: tuple[bool, ...] = ()
    """Which leaves of a state hold the rate that it was made with; for `ramp` only."""

    def ramp(self, rates: Any, params: Params, batches: Any, order: Any) -> jax.Array:
        """One run, the rates one after another; (n,): the loss before each update."""

        def step(carry, at):
            params, state = carry
            rate, place = at
            tx = self.make_tx(rate)
            state = self._renew(state, tx.init(params))
            return self._update(tx, params, state, batches, place)

        start = (params, self.make_tx(rates[0]).init(params))
        return jax.lax.scan(step, start, (rates, self._places(order)))[1]

    def end(self, rate: Any, params: Params, batches: Any, order: Any) -> jax.Array:
        """One run at one rate; the mean loss of its last tenth, inf if it diverged."""
        tx = self.make_tx(rate)

        def step(carry, place):
            params, state = carry
            return self._update(tx, params, state, batches, place)

        start = (params, tx.init(params))
        losses = jax.lax.scan(step, start, self._places(order))[1]
        late = jnp.mean(losses[-max(self.steps // 10, 1) :])
        return jnp.where(jnp.all(jnp.isfinite(losses)), late, jnp.inf)

    def grid(self, rates: Any, params: Params, batches: Any, order: Any) -> jax.Array:
        """The `end` of a run for each rate."""
        return jax.vmap(lambda rate: self.end(rate, params, batches, order))(rates)

    def _places(self, order: Any) -> jax.Array:
        return order[jnp.arange(self.steps) % order.size]

    def _update(self, tx: Any, params: Params, state: State, batches: Any, place: Any):
        """((params, state) after it, the loss before it)."""
        batch = jax.tree.map(
            lambda x: jax.lax.dynamic_index_in_dim(x, place, 0, False), batches
        )

        def value_fn(params):
            return self.loss(params, batch)

        value, grads = jax.value_and_grad(value_fn)(params)
        extra = {"value": value, "grad": grads, "value_fn": value_fn}
        tx = optax.with_extra_args_support(tx)
        updates, state = tx.update(grads, state, params, **extra)
        moved = optax.apply_updates(params, updates)
        return (moved, state), value.astype(float_dtype())

    def _renew(self, state: State, fresh: Any) -> Any:
        old, tree = jax.tree.flatten(state)
        leaves = zip(self.renewed, old, jax.tree.leaves(fresh), strict=True)
        return jax.tree.unflatten(tree, [b if new else a for new, a, b in leaves])


def renewed(make_tx: Any, params: Params, rates: Any) -> tuple[bool, ...]:
    """Which leaves of the state that `make_tx(rate)` starts with depend on the rate.

    Seen at params of ones, so that those that are traced will do.
    """
    ones = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), params)
    with jax.ensure_compile_time_eval():
        init = jax.jit(lambda rate, ones: jax.tree.leaves(make_tx(rate).init(ones)))
        states = init(rates[0], ones), init(rates[-1], ones)
    return tuple(not _same(a, b) for a, b in zip(*states, strict=True))


def optimizer_of(make_tx: Any, rate: Any) -> optax.GradientTransformation:
    """What `make_tx` returns, if it is an optimizer; it refuses in its own name."""
    name = getattr(getattr(make_tx, "func", make_tx), "__name__", "make_tx")
    tx = named(name, lambda: make_tx(rate))()
    if not isinstance(tx, optax.GradientTransformation):
        refuse_kind("make_tx", "return an optax.GradientTransformation", tx)
    return named_result(name, tx)


def _same(a: Any, b: Any) -> bool:
    if jnp.issubdtype(jnp.result_type(a), jax.dtypes.prng_key):
        return True
    a, b = np.asarray(a), np.asarray(b)
    return bool(np.all((a == b) | ((a != a) & (b != b))))


def stack(batches: Any, steps: int) -> tuple[Any, int]:
    """A tree of arrays whose leading axis counts the batches, and how many they are."""
    if _is_stream(batches):
        found = []
        with progress(steps, "batch") as advance:
            for batch in itertools.islice(batches, steps):
                found.append(batch)
                advance(1)
        if not found:
            refuse("batches", "hold a batch", batches)
        shapes = {str(jax.tree.map(np.shape, batch)) for batch in found}
        if len(shapes) != 1:
            refuse("batches", "be of one shape each", sorted(shapes))
        batches = jax.tree.map(lambda *xs: np.stack(xs), *found)
    batches = jax.tree.map(_as_batches, batches)
    shapes = [x.shape for x in jax.tree.leaves(batches)]
    totals = {shape[:1] for shape in shapes}
    if len(totals) != 1 or totals & {(), (0,)}:
        must = "hold arrays with one leading axis, of the batches"
        refuse("batches", must, shapes)
    return batches, totals.pop()[0]


def _as_batches(leaf: Any) -> Any:
    array = _as_array(leaf)
    kinds = np.number, np.bool_, jax.dtypes.prng_key
    if not any(jnp.issubdtype(array.dtype, kind) for kind in kinds):
        refuse_kind("batches", "hold arrays of numbers", leaf)
    return array


def _is_stream(batches: Any) -> bool:
    """Whether it gives batches one by one: an iterator, or what makes one."""
    if not isinstance(batches, Iterable) or hasattr(batches, "shape"):
        return False
    is_leaf = isinstance(batches, Iterator) or jax.tree_util.all_leaves([batches])
    return is_leaf and not isinstance(batches, str | bytes)


def split(key: Any, seeds: int) -> Any:
    """A key for each seed, or None: without a key there is one seed."""
    if key is None and seeds > 1:
        refuse("key", "be given with several seeds", key)
    return None if key is None else jax.random.split(key, seeds)


def orders(keys: Any, total: int) -> jax.Array:
    """The order of the batches for each seed, (seeds, total)."""
    if keys is None:
        return jnp.arange(total)[None]
    return jax.vmap(lambda key: jax.random.permutation(key, total))(keys)


def models(params: Params, keys: Any) -> list[Any]:
    """The params of each seed."""
    made = callable(params) and jax.tree.structure(params) == jax.tree.structure(0)
    if made and keys is None:
        refuse("key", "be given where `params` is a function", keys)
    if not made:
        return [params] * (1 if keys is None else len(keys))
    return [params(jax.random.fold_in(key, 1)) for key in keys]


def take_apart(models: list[Any]) -> tuple[list[Any], Callable[..., Any]]:
    """What is to be trained of each model; and what makes a model of such a thing.

    It is the tree of the model, with None for what is not trained: that stays as it is
    in the first model.
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


def side_by_side(trained: list[Any]) -> Any:
    """Trees of arrays as one, whose arrays have a leading axis."""
    return jax.tree.map(lambda *xs: jnp.stack(xs), *trained)


def check_loss(argument: str, loss: Any, params: Params, batches: Any) -> None:
    """Refuses a loss that is no real scalar, seen from shapes alone."""

    def first(params, batches):
        return loss(params, jax.tree.map(lambda x: x[0], batches))

    check_value(argument, jax.eval_shape(first, params, batches))


def _as_array(x: Any) -> Any:
    """Of a JAX array itself; else a NumPy array, which jit takes without compiling."""
    return x if isinstance(x, jax.Array) else np.asarray(x)


def _is_trained(path: Any, leaf: Any) -> bool:
    """Whether it is a parameter: no function, and nothing of a layer with dropout."""
    if not hasattr(leaf, "dtype") and not isinstance(leaf, int | float | complex):
        return False  # a function, for example
    dtype = jnp.result_type(leaf)
    # A switch, or what random numbers are drawn from: keys and, in Flax, counts.
    untrained = jnp.bool_, jnp.uint32, jax.dtypes.prng_key
    if any(jnp.issubdtype(dtype, kind) for kind in untrained):
        return False
    if not jnp.issubdtype(dtype, jnp.floating):
        name = f"params{jax.tree_util.keystr(path)}"
        got = jax.ShapeDtypeStruct(np.shape(leaf), dtype)
        refuse_kind(name, "be of floating numbers", got)
    return True
