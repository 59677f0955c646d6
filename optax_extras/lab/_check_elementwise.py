"""Whether an optimizer's numbers are the same on stacks: found by trying it."""

import itertools
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._checks import Transformation, checked
from optax_extras._state._stacking import plan, state_complaint
from optax_extras._state.stacked import stacked
from optax_extras._types import State, Updates

# Two of each rank and of a large one, and one without a fellow.
_SHAPES = ((3,), (2, 5), (), (7,), (130, 131), (2, 3, 4))
_SHAPES += ((2, 5), (3,), (130, 131), (), (2, 3, 4))
# By how much gradients and params are multiplied, for what is done to large or to small
# ones; what is added to one gradient; how many updates were made before and which of
# the state's truths hold, for what begins or ends after some.
_RUNS = ((1, 1, 0, 0, 0), (1e-6, 1e-6, 0, 0, 0), (1e6, 1e-3, 0, 0, 0))
_RUNS += ((1e-3, 1e4, 0, 10**6, 0), (1, 1, np.nan, 0, 0))
_RUNS += tuple((1, 1, 0, n, 0) for n in (1, 2, 3, 10, 100, 1000, 10**4, 10**6))
_RUNS += tuple((1, 1, 0, 3, truths) for truths in range(1, 8))
# Sums over all leaves are rounded; an update may be a difference of weights.
_OF_UPDATES, _OF_PARAMS = 1e-3, 1e-5


@checked
def check_elementwise(tx: Transformation) -> None:
    """Tries whether an optimizer gives the same numbers inside of `oxe.stacked`.

    :func:`optax_extras.stacked` works for optimizers that are elementwise, and does not
    look at the numbers itself. Call this in a test of your own: it compiles a program
    with both, the optimizer alone and in stacks, and makes some twenty single updates
    of a small tree, from several states, which takes about two seconds. It does not
    show what depends on a leaf's name or dtype, on a rank above 3 or on a size above
    17000 elements, on certain steps only, on an optional extra argument, or on a
    collective. Numbers that are traced stand for 0.5.

    Args:
      tx: The optimizer, or a part of a chain.

    Raises:
      ValueError: If its updates differ in a stack, or it cannot be tried on a small
        tree of float32 leaves, with the extra arguments of Optax's line searches.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> oxe.lab.check_elementwise(optax.adamw(1e-3))
      >>> oxe.lab.check_elementwise(optax.lamb(1e-3))
      Traceback (most recent call last):
        ...
      ValueError: check_elementwise: `tx` must be elementwise, got one whose updates ...
    """
    # There are NaNs on purpose, and copies to the device.
    with jax.debug_nans(False), jax.debug_infs(False), jax.transfer_guard("allow"):
        updates = _tried(tx, stacked(tx, group=2, max_size=10**6))
    for shape, *pair in zip(_SHAPES, *updates, strict=True) if updates else ():
        if not _close(*pair):
            _refuse(f"one whose updates of leaves of shape {shape} change in a stack")


def _refuse(what: str, why: Exception | None = None) -> NoReturn:
    raise ValueError(_REFUSED.format(what)) from why


_REFUSED = "check_elementwise: `tx` must be elementwise, got {}."


def _tried(tx: Any, stacked: Any) -> Any:
    """The updates of both; none where they go by numbers that are still to come."""
    try:
        stacks = plan(_tree(), 2, 10**6)
        state = jax.eval_shape(tx.init, stacks.stack("params", _tree()))
        complaint = state_complaint(state, stacks, tx.init)
        if complaint is None:
            return _numbers(tx, stacked)
    except jax.errors.TracerArrayConversionError:
        return ()
    except NameError as error:  # of an axis of the mesh
        said = f"in `jax.shard_map` only, if at all ({error})"
        _refuse(f"one that can be tried {said}", error)
    except Exception as error:
        first = str(error).partition("\n")[0] or type(error).__name__
        fails = "fails on stacks" if _works(tx) else "cannot be tried on a small tree"
        _refuse(f"one that {fails} ({first})", error)
    _refuse(complaint)


def _works(tx: Any) -> bool:
    try:
        _numbers(tx)
    except Exception:
        return False
    return True


def _numbers(*txs: Any) -> Any:
    """Updates of all, with the first extra arguments that will do."""
    *others, last = _no_more, _metric, _line_search
    for extra in others:
        try:
            return _known(lambda extra=extra: _runs(extra, *txs))
        except (TypeError, KeyError, ValueError):
            continue
    return _known(lambda: _runs(last, *txs))


def _known(function: Callable[[], Any]) -> Any:
    """What a function returns, also where it closes over traced numbers."""
    converted, traced = jax.closure_convert(function)
    with jax.ensure_compile_time_eval():
        samples = [jnp.full(x.shape, 0.5, x.dtype) for x in traced]
        return jax.tree.map(np.asarray, jax.jit(converted)(*samples))


def _runs(extra: Callable[..., Any], *txs: Any) -> Any:
    def run(of_grads: Any, of_params: Any, added: Any, before: Any, truths: Any) -> Any:
        params, grads = (
            [x * y for y in _tree(seed)] for seed, x in enumerate((of_params, of_grads))
        )
        grads[0] = grads[0].at[0].add(added)

        def updates(tx: Any) -> Any:
            state = _after(before, truths, tx.init(params))
            return tx.update(grads, state, params, **extra(grads))[0]

        return list(map(updates, txs))

    runs = zip(*_RUNS, strict=True)
    return jax.lax.map(lambda x: run(*x), tuple(map(jnp.float32, runs)))


def _tree(seed: int = 0) -> list[jax.Array]:
    """Leaves of several sizes, in every sense."""
    draw = np.random.default_rng(seed)
    return [
        jnp.asarray(4.0 ** ((i + seed) % 3 - 1) * draw.normal(size=shape), jnp.float32)
        for i, shape in enumerate(_SHAPES)
    ]


def _after(updates: jax.Array, truths: jax.Array, state: State) -> Any:
    """What a first state may be after some updates.

    Counts count, moments are moved, and of three numbers that are true or false every
    choice is made.
    """
    bits = truths.astype(jnp.int32) >> jnp.arange(3) & 1
    turns = itertools.cycle(bits)

    def leaf(x: Any) -> Any:
        kind = jnp.result_type(x)
        if jnp.issubdtype(kind, jnp.signedinteger):
            return x + updates.astype(kind)
        if jnp.issubdtype(kind, jnp.bool) and jnp.ndim(x) == 0:
            return x ^ next(turns).astype(bool)
        is_float = jnp.issubdtype(kind, jnp.floating)
        return x + (updates > 0).astype(kind) / 4 if is_float else x

    return jax.tree.map(leaf, state)


def _no_more(grads: Updates) -> dict[str, Any]:
    del grads
    return {}


def _metric(grads: Updates) -> dict[str, Any]:
    return {"value": sum(map(jnp.sum, jax.tree.leaves(grads)))}


def _line_search(grads: Updates) -> dict[str, Any]:
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
