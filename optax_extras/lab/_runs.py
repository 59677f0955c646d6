"""Runs of a model on batches: what is trained, on what, and by which program."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_extras import _checks
from optax_extras._numerics import float_dtype
from optax_extras.lab._minimize import check_value, is_key
from optax_extras.lab._progress import progress


class Program(NamedTuple):
    """Runs for one seed, of a loss on batches that come in an order of its own."""

    loss: Callable[..., jax.Array]
    make_tx: Callable[..., optax.GradientTransformation]
    steps: int
    renewed: tuple[bool, ...] = ()
    """Which leaves of a state hold the rate that it was made with; for `ramp` only."""

    def ramp(self, rates: Any, params: Any, batches: Any, order: Any) -> jax.Array:
        """One run, the rates one after another; (n,): the loss before each update."""

        def step(carry, at):
            params, state = carry
            rate, place = at
            tx = self.make_tx(rate)
            state = self._renew(state, tx.init(params))
            return self._update(tx, params, state, batches, place)

        start = (params, self.make_tx(rates[0]).init(params))
        return jax.lax.scan(step, start, (rates, self._places(order)))[1]

    def end(self, rate: Any, params: Any, batches: Any, order: Any) -> jax.Array:
        """One run at one rate; the mean loss of its last tenth, inf if it diverged."""
        tx = self.make_tx(rate)

        def step(carry, place):
            params, state = carry
            return self._update(tx, params, state, batches, place)

        start = (params, tx.init(params))
        losses = jax.lax.scan(step, start, self._places(order))[1]
        late = jnp.mean(losses[-max(self.steps // 10, 1) :])
        return jnp.where(jnp.all(jnp.isfinite(losses)), late, jnp.inf)

    def grid(self, rates: Any, params: Any, batches: Any, order: Any) -> jax.Array:
        """The `end` of a run for each rate."""
        return jax.vmap(lambda rate: self.end(rate, params, batches, order))(rates)

    def _places(self, order: Any) -> jax.Array:
        return order[jnp.arange(self.steps) % order.size]

    def _update(self, tx: Any, params: Any, state: Any, batches: Any, place: Any):
        """((params, state) after it, the loss before it)."""
        batch = jax.tree.map(lambda x: x[place], batches)

        def value_fn(params):
            return self.loss(params, batch)

        value, grads = jax.value_and_grad(value_fn)(params)
        extra = {"value": value, "grad": grads, "value_fn": value_fn}
        tx = optax.with_extra_args_support(tx)
        updates, state = tx.update(grads, state, params, **extra)
        moved = optax.apply_updates(params, updates)
        return (moved, state), value.astype(float_dtype())

    def _renew(self, state: Any, fresh: Any) -> Any:
        old, tree = jax.tree.flatten(state)
        leaves = zip(self.renewed, old, jax.tree.leaves(fresh), strict=True)
        return jax.tree.unflatten(tree, [b if new else a for new, a, b in leaves])


def renewed(rule: str, make_tx: Any, params: Any, rates: Any) -> tuple[bool, ...]:
    """Which leaves of the state that `make_tx(rate)` starts with depend on the rate."""
    states = []
    for rate in (rates[0], rates[-1]):
        tx = check_tx(rule, make_tx(rate))
        states.append(jax.tree.leaves(tx.init(params)))
    return tuple(not _same(a, b) for a, b in zip(*states, strict=True))


def check_tx(rule: str, tx: Any) -> optax.GradientTransformation:
    """What `make_tx` returned, if it is an optimizer."""
    if not isinstance(tx, optax.GradientTransformation):
        must = "return an optax.GradientTransformation"
        _checks.refuse_kind(rule, "make_tx", must, tx)
    return tx


def _same(a: Any, b: Any) -> bool:
    if jnp.issubdtype(jnp.result_type(a), jax.dtypes.prng_key):
        return True
    a, b = np.asarray(a), np.asarray(b)
    return bool(np.all((a == b) | ((a != a) & (b != b))))


def stack(rule: str, batches: Any, steps: int) -> tuple[Any, int]:
    """A tree of arrays whose leading axis counts the batches, and how many they are."""
    if isinstance(batches, Iterator):
        found = []
        with progress(steps, "batch") as advance:
            for batch in itertools.islice(batches, steps):
                found.append(batch)
                advance(1)
        shapes = {str(jax.tree.map(np.shape, batch)) for batch in found}
        if len(shapes) != 1:
            _checks.refuse(rule, "batches", "be of one shape each", sorted(shapes))
        batches = jax.tree.map(lambda *xs: np.stack(xs), *found)
    batches = jax.tree.map(jnp.asarray, batches)
    shapes = [x.shape for x in jax.tree.leaves(batches)]
    totals = {shape[:1] for shape in shapes}
    if len(totals) != 1 or totals & {(), (0,)}:
        must = "hold arrays with one leading axis, of the batches"
        _checks.refuse(rule, "batches", must, shapes)
    return batches, totals.pop()[0]


def split(rule: str, key: Any, seeds: int) -> Any:
    """A key for each seed, or None: without a key there is one seed."""
    if key is not None and not is_key(key):
        _checks.refuse_kind(rule, "key", "be a key of jax.random", key)
    if key is None and seeds > 1:
        _checks.refuse(rule, "key", "be given with several seeds", key)
    return None if key is None else jax.random.split(key, seeds)


def orders(keys: Any, total: int) -> jax.Array:
    """The order of the batches for each seed, (seeds, total)."""
    if keys is None:
        return jnp.arange(total)[None]
    return jax.vmap(lambda key: jax.random.permutation(key, total))(keys)


def models(rule: str, params: Any, keys: Any) -> list[Any]:
    """The params of each seed."""
    made = jax.tree.leaves(params) == [params] and callable(params)
    if made and keys is None:
        _checks.refuse(rule, "key", "be given where `params` is a function", keys)
    if not made:
        return [params] * (1 if keys is None else len(keys))
    return [params(jax.random.fold_in(key, 1)) for key in keys]


def take_apart(rule: str, models: list[Any]) -> tuple[list[Any], Callable[..., Any]]:
    """The arrays to train, stacked over the seeds; and what makes a model of one row.

    What is no number stays as it is in the first model.
    """
    leaves, tree = jax.tree.flatten(models[0])
    places = [i for i, leaf in enumerate(leaves) if _is_trained(rule, leaf)]
    if not places:
        _checks.refuse_kind(rule, "params", "hold something to train", models[0])
    rows = [[jax.tree.leaves(m)[i] for i in places] for m in models]
    stacked = [
        jnp.stack([jnp.asarray(x) for x in xs]) for xs in zip(*rows, strict=True)
    ]

    def rebuild(row):
        whole = list(leaves)
        for place, leaf in zip(places, row, strict=True):
            whole[place] = leaf
        return jax.tree.unflatten(tree, whole)

    return stacked, rebuild


def check_loss(rule: str, argument: str, loss: Any, params: Any, batches: Any) -> None:
    """Refuses a loss that is no real scalar, seen from shapes alone."""
    first = [x[0] for x in params], jax.tree.map(lambda x: x[0], batches)
    check_value(rule, argument, jax.eval_shape(loss, *first))


def _is_trained(rule: str, leaf: Any) -> bool:
    if not hasattr(leaf, "dtype") and not isinstance(leaf, int | float | complex):
        return False  # a function, for example
    dtype = jnp.asarray(leaf).dtype
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return False
    if not jnp.issubdtype(dtype, jnp.floating):
        _checks.refuse_kind(rule, "params", "hold floating numbers only", leaf)
    return True
