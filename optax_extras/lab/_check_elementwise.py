"""A numeric check that an optimizer computes the same updates on stacked leaves."""

import itertools
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._checks import Transformation, checked
from optax_extras._state._stacking import stacks_of, why_not_elementwise
from optax_extras._state.stacked import stacked
from optax_extras._types import State, Updates

# Two leaves of most shapes, which are stacked, and one of shape (7,), which is not.
_SHAPES = ((3,), (2, 5), (), (7,), (130, 131), (2, 3, 4))
_SHAPES += ((2, 5), (3,), (130, 131), (), (2, 3, 4))
# Each run: the scale of the gradients, the scale of the params, a number added to one
# gradient, the updates already made, and a bit mask of scalar bools in the state. Some
# optimizers treat large or small leaves differently, or change after some updates.
_RUNS = ((1, 1, 0, 0, 0), (1e-6, 1e-6, 0, 0, 0), (1e6, 1e-3, 0, 0, 0))
_RUNS += ((1e-3, 1e4, 0, 10**6, 0), (1, 1, np.nan, 0, 0))
_RUNS += tuple((1, 1, 0, n, 0) for n in (1, 2, 3, 10, 100, 1000, 10**4, 10**6))
_RUNS += tuple((1, 1, 0, 3, bits) for bits in range(1, 8))
# Tolerances relative to the largest update and to the scale of the params: sums over
# all leaves are rounded, and an update may be a difference of weights.
_OF_UPDATES, _OF_PARAMS = 1e-3, 1e-5
_REFUSED = "check_elementwise: `tx` must be elementwise, got {}."


@checked
def check_elementwise(tx: Transformation) -> None:
    """Checks that an optimizer computes the same updates inside `oxe.stacked`.

    :func:`optax_extras.stacked` needs an elementwise optimizer, and does not check the
    numbers itself. Call this in your tests: it takes about two seconds. It compiles a
    program with the optimizer alone and in stacks, and makes some twenty single updates
    of a small tree, from several states. Not detected: behavior that depends on a
    leaf's name or dtype, on a rank above 3 or a size above 17000 elements, on certain
    steps only, on an optional extra argument, or on a collective. A traced number is
    replaced by 0.5.

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
    # The runs contain NaNs on purpose, and copy numbers to the device.
    with jax.debug_nans(False), jax.debug_infs(False), jax.transfer_guard("allow"):
        updates = _updates(tx, stacked(tx, group=2, max_size=10**6))
    for shape, *pair in zip(_SHAPES, *updates, strict=True) if updates else ():
        if not _close(*pair):
            _refuse(f"one whose updates of leaves of shape {shape} change in a stack")


def _refuse(what: str, why: Exception | None = None) -> NoReturn:
    raise ValueError(_REFUSED.format(what)) from why


def _updates(tx: Any, stacked: Any) -> Any:
    """The updates of both; () if they depend on numbers that `vmap` hides."""
    try:
        stacks = stacks_of(_tree(), 2, 10**6)
        state = jax.eval_shape(tx.init, stacks.stack("params", _tree()))
        complaint = why_not_elementwise(state, stacks, tx.init)
        if complaint is None:
            return _numbers(tx, stacked)
    except jax.errors.TracerArrayConversionError:
        return ()
    except NameError as error:  # JAX: unbound axis name
        where = f"in `jax.shard_map` only, if at all ({error})"
        _refuse(f"one that can be tried {where}", error)
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
    """The updates of all, with the first extra arguments that work."""
    for i in range(2):
        try:
            return _concrete(lambda i=i: _runs(i, *txs))
        except (TypeError, KeyError, ValueError):
            continue
    return _concrete(lambda: _runs(2, *txs))


def _concrete(function: Callable[[], Any]) -> Any:
    """The arrays that a function returns, 0.5 for the traced numbers in its closure."""
    converted, traced = jax.closure_convert(function)
    with jax.ensure_compile_time_eval():
        samples = [jnp.full(x.shape, 0.5, x.dtype) for x in traced]
        return jax.tree.map(np.asarray, jax.jit(converted)(*samples))


def _runs(extra: int, *txs: Any) -> Any:
    """The updates of each transformation in all runs, with these extra arguments."""

    def run(of_grads: Any, of_params: Any, added: Any, before: Any, bits: Any) -> Any:
        params, grads = (
            [x * y for y in _tree(seed)] for seed, x in enumerate((of_params, of_grads))
        )
        grads[0] = grads[0].at[0].add(added)

        def updates(tx: Any) -> Any:
            state = _after(before, bits, tx.init(params))
            return tx.update(grads, state, params, **_extra_args(grads)[extra])[0]

        return list(map(updates, txs))

    runs = zip(*_RUNS, strict=True)
    return jax.lax.map(lambda x: run(*x), tuple(map(jnp.float32, runs)))


def _tree(seed: int = 0) -> list[jax.Array]:
    """Leaves of several shapes and magnitudes."""
    draw = np.random.default_rng(seed)
    return [
        jnp.asarray(4.0 ** ((i + seed) % 3 - 1) * draw.normal(size=shape), jnp.float32)
        for i, shape in enumerate(_SHAPES)
    ]


def _after(updates: jax.Array, bits: jax.Array, state: State) -> Any:
    """An initial state, changed as some updates may have changed it.

    Integers are counts and grow, floats become nonzero, and the three bits flip scalar
    bools in turn.
    """
    flips = itertools.cycle(bits.astype(jnp.int32) >> jnp.arange(3) & 1)

    def leaf(x: Any) -> Any:
        kind = jnp.result_type(x)
        if jnp.issubdtype(kind, jnp.signedinteger):
            return x + updates.astype(kind)
        if jnp.issubdtype(kind, jnp.bool) and jnp.ndim(x) == 0:
            return x ^ next(flips).astype(bool)
        is_float = jnp.issubdtype(kind, jnp.floating)
        return x + (updates > 0).astype(kind) / 4 if is_float else x

    return jax.tree.map(leaf, state)


def _extra_args(grads: Updates) -> tuple[dict[str, Any], ...]:
    """Nothing, a metric, and the arguments of Optax's line searches."""

    def value_fn(params, *args, **kwargs):
        return sum(map(jnp.sum, jax.tree.leaves(params)))

    metric = {"value": value_fn(grads)}
    return {}, metric, {**metric, "grad": grads, "value_fn": value_fn}


def _close(separate: np.ndarray, together: np.ndarray) -> bool:
    """Compares each run, along the first axis, by its own magnitude."""
    axes = tuple(range(1, separate.ndim))
    largest = np.abs(np.where(np.isfinite(separate), separate, 0)).max(
        axes, keepdims=True
    )
    weights = np.reshape([of_params for _, of_params, *_ in _RUNS], largest.shape)
    atol = _OF_UPDATES * largest + _OF_PARAMS * weights
    return np.allclose(separate, together, rtol=0, atol=atol, equal_nan=True)
