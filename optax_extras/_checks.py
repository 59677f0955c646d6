"""Argument checks: one voice for every error.

Every check looks at concrete numbers only, so a traced hyperparameter passes, and
returns its argument, so that it can stand where the argument is used.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

_ENDLESS = 2**100  # steps; what is longer is not told from it


def is_traced(x: Any) -> bool:
    """Whether `x` has no concrete value yet (inside jit, vmap or grad)."""
    return isinstance(x, Tracer)


def refuse(rule: str, argument: str, must: str, got: Any) -> NoReturn:
    """Raises the `ValueError` of the house; `argument` may carry an index."""
    name, bracket, index = argument.partition("[")
    raise ValueError(f"{rule}: `{name}`{bracket}{index} must {must}, got {got!r}.")


def refuse_kind(rule: str, argument: str, must: str, got: Any) -> NoReturn:
    """Raises the `TypeError` of the house."""
    name, bracket, index = argument.partition("[")
    what = f"{got!r} of type {type(got).__name__}"
    raise TypeError(f"{rule}: `{name}`{bracket}{index} must {must}, got {what}.")


def _is_scalar(x: Any, *kinds: Any) -> bool:
    """Whether `x` is a number, or a 0-d array, of one of the abstract dtypes."""
    if not isinstance(x, int | float | np.generic) and not hasattr(x, "dtype"):
        return False
    if getattr(x, "shape", ()) != ():
        return False
    dtype = getattr(x, "dtype", np.dtype(type(x)))
    try:
        np.dtype(dtype)
    except TypeError:  # of another library
        return False
    return any(jnp.issubdtype(dtype, kind) for kind in kinds)


def numbers(rule: str, argument: str, x: Any) -> Any:
    """A number, or an array of them."""
    if not isinstance(x, int | float | complex) and not hasattr(x, "dtype"):
        refuse_kind(rule, argument, "be an array of numbers", x)
    return x


def is_real(x: Any) -> bool:
    """Whether it is a real number, or a 0-d array of one."""
    return _is_scalar(x, np.integer, np.floating)


def known(x: Any) -> Any:
    """The Python number that a concrete scalar is.

    Inside jit an operation on a concrete `jax.Array` is traced too; on this it is not.
    """
    return x if isinstance(x, int | float) else np.asarray(x).item()


def real(rule: str, argument: str, x: Any, interval: str = "(-inf, inf)") -> Any:
    """A finite real scalar in `interval`, written as in mathematics: `"[0, 1)"`.

    A NumPy number comes back as Python's own, any JAX array as it is.
    """
    if not is_real(x):
        refuse_kind(rule, argument, "be a real number", x)
    if is_traced(x):
        return x
    value = known(x)
    low, high = map(float, interval[1:-1].split(","))
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    dtype = jax.dtypes.canonicalize_dtype(np.float64)
    largest = float(jnp.finfo(dtype).max)
    if not (above and below):
        must = "be finite" if interval == "(-inf, inf)" else f"be in {interval}"
        refuse(rule, argument, must, x)
    if not -largest <= value <= largest:
        refuse(rule, argument, f"be finite in {dtype}", x)
    return x if isinstance(x, jax.Array) else value


def number_or_schedule(
    rule: str, argument: str, x: Any, interval: str = "(-inf, inf)"
) -> Any:
    """A real scalar in `interval`, or a function of the step count."""
    if callable(x):
        try:
            inspect.signature(x).bind(0)
        except TypeError:
            refuse_kind(rule, argument, "be callable with the step count alone", x)
        except ValueError:  # its signature is not known
            pass
        return x
    if not is_real(x):
        refuse_kind(rule, argument, "be a number or a schedule", x)
    return real(rule, argument, x, interval)


def metric(rule: str, argument: str, x: Any) -> Any:
    """A real scalar as it was measured: NaN and infinities too."""
    if not is_real(x):
        refuse_kind(rule, argument, "be a metric, a real scalar", x)
    if isinstance(x, int) and abs(x) >= 2**1024:
        refuse(rule, argument, "be a metric, of at most 1.8e308", x)
    return x


def count(rule: str, argument: str, x: Any, *, at_least: int = 1) -> Any:
    """A number of steps: an integer scalar; a concrete one, of any size, as an int."""
    must = f"be an integer of at least {at_least}"
    if not _is_scalar(x, np.integer):
        refuse_kind(rule, argument, must, x)
    if is_traced(x):
        return x
    if known(x) < at_least:
        refuse(rule, argument, must, x)
    return min(known(x), _ENDLESS)


def untraced(rule: str, argument: str, x: Any) -> Any:
    """What decides structure, what is run or what is drawn, and so has a value."""
    if is_traced(x):
        refuse_kind(rule, argument, "be known, as a shape is", x)
    return x


def known_count(rule: str, argument: str, x: Any, *, at_least: int = 1) -> int:
    """The same, of what decides structure."""
    return untraced(rule, argument, count(rule, argument, x, at_least=at_least))


def whole(rule: str, argument: str, x: Any, *, at_least: int = 1) -> Any:
    """A number of steps, of which other libraries write 2000. as well."""
    if isinstance(x, float | np.floating):
        if not (float(x).is_integer() and x >= at_least):
            refuse(rule, argument, f"be a whole number of at least {at_least}", x)
        x = int(x)
    return count(rule, argument, x, at_least=at_least)


def counts(rule: str, argument: str, xs: Any) -> list[Any]:
    """Step numbers in non-decreasing order, from a sequence or a 1-d array."""
    found = [
        count(rule, f"{argument}[{i}]", x, at_least=0)
        for i, x in enumerate(items(rule, argument, xs))
    ]
    known = [x for x in found if not is_traced(x)]
    if known != sorted(known):
        refuse(rule, argument, "be sorted", xs)
    return found


def reals(rule: str, argument: str, xs: Any, interval: str = "(-inf, inf)") -> list:
    """Real numbers in `interval`, from a sequence or a 1-d array."""
    found = enumerate(items(rule, argument, xs))
    return [real(rule, f"{argument}[{i}]", x, interval) for i, x in found]


def items(rule: str, argument: str, xs: Any) -> list[Any]:
    """The items of a sequence or of a 1-d array."""
    is_sequence = isinstance(xs, Sequence) and not isinstance(xs, str | bytes)
    if not is_sequence and getattr(xs, "ndim", None) != 1:
        refuse_kind(rule, argument, "be a sequence", xs)
    return list(xs)


def choice(rule: str, argument: str, x: Any, options: Sequence[str]) -> str:
    """One of the named options."""
    if not isinstance(x, str) or x not in options:
        refuse(rule, argument, "be one of " + ", ".join(map(repr, options)), x)
    return x


def flag(rule: str, argument: str, x: Any) -> bool:
    """True or False: what decides structure is never a traced value."""
    if not isinstance(x, bool | np.bool_):
        refuse_kind(rule, argument, "be True or False", x)
    return bool(x)


def dtype_name(x: Any) -> str:
    """The name of a dtype, "" of anything else, an array too."""
    if hasattr(x, "shape") and not isinstance(x, type | np.dtype):
        return ""
    try:
        return jnp.dtype(x).name
    except TypeError:
        return ""


def floating(rule: str, argument: str, dtype: Any) -> Any:
    """A floating dtype."""
    name = dtype_name(dtype)
    if not (name and jnp.issubdtype(jnp.dtype(name), jnp.floating)):
        refuse_kind(rule, argument, "be a floating dtype", dtype)
    return dtype


def returned(rule: str, argument: str, x: Any) -> Any:
    """The real scalar that a schedule has to return."""
    if not is_real(x) and getattr(x, "shape", ()) == ():
        refuse_kind(rule, argument, "return a real number", x)
    if np.shape(x) != ():
        refuse(rule, argument, "return a scalar", x)
    return x


def mask(rule: str, x: Any) -> Any:
    """None, a tree of bools, or a function to one."""
    leaves = [] if callable(x) else jax.tree.leaves(x)
    if not all(isinstance(leaf, bool | np.bool_) for leaf in leaves):
        refuse_kind(rule, "mask", "be a tree of bools, or a function to one", x)
    return x


def function(rule: str, argument: str, x: Any) -> Callable[..., Any]:
    """Something that can be called."""
    if not callable(x):
        refuse_kind(rule, argument, "be callable", x)
    return x


def transformation(rule: str, argument: str, x: Any, verb: str = "be") -> Any:
    """An Optax transformation, with extra arguments if it had none."""
    if not isinstance(x, optax.GradientTransformation):
        refuse_kind(rule, argument, f"{verb} an optax transformation", x)
    return optax.with_extra_args_support(x)


def alike(rule: str, argument: str, must: str, got: Any, like: Any) -> None:
    """Two trees of the same structure, with leaves of the same shapes."""

    def kinds(tree):
        return jax.tree.structure(tree), list(map(jnp.shape, jax.tree.leaves(tree)))

    if kinds(got) != kinds(like):
        refuse(rule, argument, must, got)
