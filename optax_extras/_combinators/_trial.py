"""Whether an optimizer's numbers are the same on stacks: found by trying it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_extras._combinators._groups import GroupedLeaves, outside

# Two of each rank and of a large one, and one without a fellow.
_SHAPES = ((3,), (2, 5), (), (7,), (130, 131), (2, 3, 4))
_SHAPES += ((2, 5), (3,), (130, 131), (), (2, 3, 4))
# By how much gradients and params are multiplied, for what is done to large or to small
# ones; what is added to one gradient; how many updates were made before, for what
# begins or ends after some.
_RUNS = ((1, 1, 0, 0), (1e-6, 1e-6, 0, 0), (1e6, 1e-3, 0, 0), (1e-3, 1e4, 0, 10**6))
_RUNS += ((1, 1, 0, 10**6), (1, 1, np.nan, 0))
# Sums over all leaves are rounded; an update may be a difference of weights.
_OF_UPDATES, _OF_PARAMS = 1e-3, 1e-5


def check(tx: Any, stacked: Any) -> None:
    """Refuses an optimizer that does not work on stacks.

    `stacked` is the same optimizer on stacks. Both make an update of a small tree.
    """
    try:
        few, many = (
            jax.eval_shape(tx.init, GroupedLeaves((), _tree() * n)) for n in (1, 2)
        )
        if any(map(_is_masked, jax.tree.leaves(few, is_leaf=_is_masked))):
            refuse("one with a mask or labels, which know no stacks")
        if _kinds(outside(few)) != _kinds(outside(many)):
            refuse("one whose state goes by the number or the sizes of the leaves")
        updates = _numbers(tx, stacked)
    except jax.errors.TracerArrayConversionError:  # of numbers that are still to come
        return
    except NameError as error:  # of an axis of the mesh
        why = f"one that can be tried inside of `jax.shard_map` only ({error})"
        raise ValueError(_REFUSED.format(why)) from error
    except Exception as error:
        if str(error).startswith("stacked: "):
            raise
        first = str(error).partition("\n")[0]
        why = f"one that cannot be tried on a small tree ({first})"
        raise ValueError(_REFUSED.format(why)) from error
    for shape, *pair in zip(_SHAPES, *updates, strict=True):
        if not _close(*pair):
            refuse(f"one whose updates of leaves of shape {shape} change in a stack")


def refuse(what: str) -> NoReturn:
    raise ValueError(_REFUSED.format(what))


_REFUSED = (
    "stacked: `tx` must be elementwise, got {}. Stack the part that is, as in "
    "`optax.chain(oxe.stacked(optax.scale_by_adam()), optax.scale_by_trust_ratio())`, "
    "and put `stacked` inside of `optax.masked` and `optax.partition`."
)


def _numbers(tx: Any, stacked: Any) -> Any:
    """Updates of both, with the first extra arguments that will do."""
    *others, last = _no_more, _metric, _line_search
    for extra in others:
        try:
            return _known(lambda extra=extra: _runs(extra, tx, stacked))
        except (TypeError, KeyError, ValueError):
            continue
    return _known(lambda: _runs(last, tx, stacked))


def _known(function: Callable[[], Any]) -> Any:
    """What a function returns, also where it closes over traced numbers."""
    converted, traced = jax.closure_convert(function)
    # There are NaNs on purpose, and a first update may divide by zero.
    undisturbed = jax.debug_nans(False), jax.debug_infs(False)
    with undisturbed[0], undisturbed[1], jax.ensure_compile_time_eval():
        samples = [jnp.full(x.shape, 0.5, x.dtype) for x in traced]
        return jax.tree.map(np.asarray, jax.jit(converted)(*samples))


def _runs(extra: Callable[..., Any], *txs: Any) -> Any:
    def run(of_grads: Any, of_params: Any, added: Any, before: Any) -> Any:
        params, grads = ([x * y for y in _tree()] for x in (of_params, of_grads))
        grads[0] = grads[0].at[0].add(added)

        def updates(tx: Any) -> Any:
            state = jax.tree.map(partial(_after, before), tx.init(params))
            return tx.update(grads, state, params, **extra(grads))[0]

        return list(map(updates, txs))

    runs = zip(*_RUNS, strict=True)
    return jax.lax.map(lambda x: run(*x), tuple(map(jnp.float32, runs)))


def _tree() -> list[jax.Array]:
    """Leaves of several sizes, in every sense."""
    draw = np.random.default_rng(0)
    return [
        jnp.asarray(4.0 ** (i % 3 - 1) * draw.normal(size=shape), jnp.float32)
        for i, shape in enumerate(_SHAPES)
    ]


def _after(updates: jax.Array, x: Any) -> Any:
    """What a first state may be after some updates: counts count, moments are moved."""
    kind = jnp.result_type(x)
    if jnp.issubdtype(kind, jnp.signedinteger):
        return x + updates.astype(kind)
    is_float = jnp.issubdtype(kind, jnp.floating)
    return x + (updates > 0).astype(kind) / 4 if is_float else x


def _no_more(grads: Any) -> dict[str, Any]:
    del grads
    return {}


def _metric(grads: Any) -> dict[str, Any]:
    return {"value": sum(map(jnp.sum, jax.tree.leaves(grads)))}


def _line_search(grads: Any) -> dict[str, Any]:
    """What Optax's line searches are given."""

    def value_fn(params, *args, **kwargs):
        return sum(map(jnp.sum, jax.tree.leaves(params)))

    return {**_metric(grads), "grad": grads, "value_fn": value_fn}


def _close(alone: np.ndarray, together: np.ndarray) -> bool:
    """Each run on its own, along the first axis."""
    axes = tuple(range(1, alone.ndim))
    largest = np.abs(np.where(np.isfinite(alone), alone, 0)).max(axes, keepdims=True)
    weights = np.reshape([of_params for _, of_params, *_ in _RUNS], largest.shape)
    with np.errstate(invalid="ignore"):
        apart = np.abs(alone - together)
    near = apart <= _OF_UPDATES * largest + _OF_PARAMS * weights
    same = (alone == together) | (np.isnan(alone) & np.isnan(together))
    return bool(np.all(near | same))


def _is_masked(x: Any) -> bool:
    return isinstance(x, optax.MaskedState | optax.MultiTransformState)


def _kinds(leaves: list[Any]) -> list[Any]:
    return [(x.shape, x.dtype) for x in leaves]
