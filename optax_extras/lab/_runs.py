"""Runs of a model on batches: what is trained, on what, and by which program."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_extras import _checks
from optax_extras._numerics import float_dtype


class Program(NamedTuple):
    """A run for one seed: (rates, params, batches, their order) -> losses (n,)."""

    loss: Callable[..., jax.Array]
    make_tx: Callable[..., optax.GradientTransformation]
    steps: int
    renewed: tuple[bool, ...]
    """Which leaves of a state hold the rate that it was made with."""

    def ramp(self, rates: Any, params: Any, batches: Any, order: Any) -> jax.Array:
        """One run, the rates one after another; the loss before each update."""
        places = order[jnp.arange(self.steps) % order.size]

        def step(carry, at):
            params, state = carry
            rate, place = at
            batch = jax.tree.map(lambda x: x[place], batches)

            def value_fn(params):
                return self.loss(params, batch)

            value, grads = jax.value_and_grad(value_fn)(params)
            tx = optax.with_extra_args_support(self.make_tx(rate))
            state = self._renew(state, tx.init(params))
            extra = {"value": value, "grad": grads, "value_fn": value_fn}
            updates, state = tx.update(grads, state, params, **extra)
            moved = optax.apply_updates(params, updates)
            return (moved, state), value.astype(float_dtype())

        start = (params, self.make_tx(rates[0]).init(params))
        return jax.lax.scan(step, start, (rates, places))[1]

    def grid(self, rates: Any, params: Any, batches: Any, order: Any) -> jax.Array:
        """A run for each rate; the mean loss of its last tenth, inf if it diverged."""

        def alone(rate):
            same = jnp.broadcast_to(rate, (self.steps,))
            losses = self.ramp(same, params, batches, order)
            late = jnp.mean(losses[-max(self.steps // 10, 1) :])
            return jnp.where(jnp.all(jnp.isfinite(losses)), late, jnp.inf)

        return jax.vmap(alone)(rates)

    def _renew(self, state: Any, fresh: Any) -> Any:
        old, tree = jax.tree.flatten(state)
        leaves = zip(self.renewed, old, jax.tree.leaves(fresh), strict=True)
        return jax.tree.unflatten(tree, [b if new else a for new, a, b in leaves])


def renewed(rule: str, make_tx: Any, params: Any, rates: Any) -> tuple[bool, ...]:
    """Which leaves of the state that `make_tx(rate)` starts with depend on the rate."""
    states = []
    for rate in (rates[0], rates[-1]):
        tx = make_tx(rate)
        if not isinstance(tx, optax.GradientTransformation):
            must = "return an optax.GradientTransformation"
            _checks.refuse_kind(rule, "make_tx", must, tx)
        states.append(jax.tree.leaves(tx.init(params)))
    return tuple(not _same(a, b) for a, b in zip(*states, strict=True))


def _same(a: Any, b: Any) -> bool:
    if jnp.issubdtype(jnp.result_type(a), jax.dtypes.prng_key):
        return True
    a, b = np.asarray(a), np.asarray(b)
    return bool(np.all((a == b) | ((a != a) & (b != b))))


def stack(rule: str, batches: Any, steps: int) -> tuple[Any, int]:
    """A tree of arrays whose leading axis counts the batches, and how many they are."""
    if isinstance(batches, Iterator):
        found = list(_progress(itertools.islice(batches, steps), steps))
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


def _progress(things: Iterable[Any], total: int) -> Iterable[Any]:
    """The things, with a bar if they take long and tqdm is there."""
    try:
        from tqdm import tqdm
    except ImportError:
        return things
    return tqdm(things, total=total, delay=2, leave=False)


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


def _is_trained(rule: str, leaf: Any) -> bool:
    if not hasattr(leaf, "dtype") and not isinstance(leaf, int | float | complex):
        return False  # a function, for example
    dtype = jnp.asarray(leaf).dtype
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return False
    if not jnp.issubdtype(dtype, jnp.floating):
        _checks.refuse_kind(rule, "params", "hold floating numbers only", leaf)
    return True
