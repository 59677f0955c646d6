"""Checks of single values: each takes the argument's name and returns the value.

Only concrete values are checked. A NumPy number is returned as a Python number, a JAX
array as it is.
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from optax_extras._errors import refuse, refuse_kind

_MOST_STEPS = 2**100  # no run makes as many: larger counts are equivalent


def is_traced(x: Any) -> bool:
    """Whether `x` has no concrete value yet (inside jit, vmap or grad)."""
    return isinstance(x, Tracer)


def is_positive(x: Any) -> bool:
    """Whether a number, or an array of them, is known to be above 0."""
    return not callable(x) and not is_traced(x) and bool(np.all(np.asarray(x) > 0))


def _is_scalar(x: Any, *kinds: Any) -> bool:
    """Whether `x` is a number, or a 0-d array, of one of the abstract dtypes."""
    if not isinstance(x, int | float | np.generic) and not hasattr(x, "dtype"):
        return False
    if getattr(x, "shape", ()) != ():
        return False
    dtype = getattr(x, "dtype", np.dtype(type(x)))
    try:
        np.dtype(dtype)
    except TypeError:  # a dtype of another library
        return False
    return any(jnp.issubdtype(dtype, kind) for kind in kinds)


def is_real(x: Any) -> bool:
    """Whether `x` is a real number or a 0-d array of one."""
    return _is_scalar(x, np.integer, np.floating)


def concrete(x: Any) -> Any:
    """A concrete scalar as a Python number.

    Inside jit even operations on a concrete `jax.Array` are traced; operations on a
    Python number are not.
    """
    return x if isinstance(x, int | float) else np.asarray(x).item()


def real(argument: str, x: Any, interval: str = "(-inf, inf)") -> Any:
    """A finite real scalar in `interval`, written as in mathematics: `"[0, 1)"`."""
    if not is_real(x):
        refuse_kind(argument, "be a real number", x, is_schedule=callable(x))
    if is_traced(x):
        return x
    value = concrete(x)
    low, high = map(float, interval[1:-1].split(","))
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    dtype = jax.dtypes.canonicalize_dtype(np.float64)
    largest = float(jnp.finfo(dtype).max)
    if not (above and below):
        must = "be finite" if interval == "(-inf, inf)" else f"be in {interval}"
        refuse(argument, must, x)
    if not -largest <= value <= largest:
        refuse(argument, f"be finite in {dtype}", x)
    return x if isinstance(x, jax.Array) else value


def number_or_schedule(argument: str, x: Any, interval: str = "(-inf, inf)") -> Any:
    """A real scalar in `interval`, or a function of the step count."""
    if callable(x):
        try:
            inspect.signature(x).bind(0)
        except TypeError:
            refuse_kind(argument, "be callable with the step count alone", x)
        except ValueError:  # a built-in without a signature
            pass
        return x
    if not is_real(x):
        refuse_kind(argument, "be a number or a schedule", x)
    return real(argument, x, interval)


def monitor(argument: str, x: Any) -> str:
    """The name of the extra arg that carries a metric."""
    if not isinstance(x, str):
        refuse_kind(argument, "be the name of an extra arg", x)
    if x in ("", "updates", "state", "params"):
        must = "be a non-empty name other than 'updates', 'state' and 'params'"
        refuse(argument, must, x)
    return x


def metric(argument: str, x: Any) -> Any:
    """A real scalar; NaN and infinities are allowed."""
    if not is_real(x):
        refuse_kind(argument, "be a metric, a real scalar", x)
    if isinstance(x, int) and abs(x) >= 2**1024:  # `float` of it would raise
        refuse(argument, "be between -1.8e308 and 1.8e308", x)
    return x


def count(argument: str, x: Any, *, at_least: int = 1) -> Any:
    """A number of steps, an integer scalar of any size; an int if it is concrete."""
    must = f"be an integer of at least {at_least}"
    if not _is_scalar(x, np.integer):
        refuse_kind(argument, must, x)
    if is_traced(x):
        return x
    if concrete(x) < at_least:
        refuse(argument, must, x)
    return min(concrete(x), _MOST_STEPS)


def untraced(argument: str, x: Any) -> Any:
    """A concrete value: it decides structure, or what is run or drawn."""
    if is_traced(x):
        refuse_kind(argument, "be concrete, not traced", x)
    return x


def static_count(argument: str, x: Any, *, at_least: int = 1) -> int:
    """A count that decides structure and so may not be traced."""
    return untraced(argument, count(argument, x, at_least=at_least))


def integral(argument: str, x: Any, *, at_least: int = 1) -> Any:
    """A number of steps that may be a float, such as 2000.0, as in other libraries."""
    if isinstance(x, float | np.floating):
        if not (float(x).is_integer() and x >= at_least):
            refuse(argument, f"be a whole number of at least {at_least}", x)
        x = int(x)
    return count(argument, x, at_least=at_least)


def counts(argument: str, xs: Any) -> list[Any]:
    """Step numbers in non-decreasing order, from a sequence or a 1-d array."""
    given = enumerate(items(argument, xs))
    found = [count(f"{argument}[{i}]", x, at_least=0) for i, x in given]
    known = [x for x in found if not is_traced(x)]
    if known != sorted(known):
        refuse(argument, "be sorted", xs)
    return found


def reals(argument: str, xs: Any, interval: str = "(-inf, inf)") -> list:
    """Real numbers in `interval`, from a sequence or a 1-d array."""
    given = enumerate(items(argument, xs))
    return [real(f"{argument}[{i}]", x, interval) for i, x in given]


def items(argument: str, xs: Any) -> list[Any]:
    """The items of a sequence or of a 1-d array."""
    is_sequence = isinstance(xs, Sequence) and not isinstance(xs, str | bytes)
    if not is_sequence and getattr(xs, "ndim", None) != 1:
        refuse_kind(argument, "be a sequence", xs)
    return list(xs)


def choice(argument: str, x: Any, options: Sequence[str]) -> str:
    """One of the named options."""
    if not isinstance(x, str) or x not in options:
        refuse(argument, "be one of " + ", ".join(map(repr, options)), x)
    return x


def flag(argument: str, x: Any) -> bool:
    """A concrete bool: it decides structure."""
    if not isinstance(x, bool | np.bool_):
        refuse_kind(argument, "be a bool", x)
    return bool(x)


def dtype_name(x: Any) -> str:
    """The name of a dtype; "" if `x` is anything else, such as an array."""
    if hasattr(x, "shape") and not isinstance(x, type | np.dtype):
        return ""
    try:
        return jnp.dtype(x).name
    except TypeError:
        return ""


def floating(argument: str, dtype: Any) -> Any:
    """A floating dtype."""
    name = dtype_name(dtype)
    if not (name and jnp.issubdtype(jnp.dtype(name), jnp.floating)):
        refuse_kind(argument, "be a floating dtype", dtype)
    return dtype


def numbers(argument: str, x: Any) -> Any:
    """A number, or an array of them."""
    if not isinstance(x, int | float | complex) and not hasattr(x, "dtype"):
        refuse_kind(argument, "be an array of numbers", x)
    return x


def returned(argument: str, schedule: Any, x: Any) -> Any:
    """The result of a schedule: a real scalar, or of the schedule's own `shape`."""
    if not is_real(x) and getattr(x, "shape", ()) == ():
        refuse_kind(argument, "return a real number", x)
    if np.shape(x) not in ((), getattr(schedule, "shape", ())):
        refuse(argument, "return a scalar", x)
    return x


def of_path_and_leaf(argument: str, x: Any, hint: str = "") -> Any:
    """A function of a path and a leaf."""
    function(argument, x)
    try:
        inspect.signature(x).bind("", None)
    except TypeError:
        refuse_kind(argument, "be a function of a path and a leaf", x, hint)
    except ValueError:  # a built-in without a signature
        pass
    return x


def layout(argument: str, x: Any) -> Any:
    """A word for the two axes of a kernel, or a function of a path and a leaf."""
    if callable(x):
        hint = "Those of `oxe.layouts` get the model: `oxe.layouts.nnx(model)`."
        return of_path_and_leaf(argument, x, hint)
    if not (isinstance(x, str) and x in ("in_out", "out_in")):
        refuse(argument, "be 'in_out', 'out_in' or a function of path and leaf", x)
    return x


def paths(argument: str, x: Any) -> Any:
    """A function, or regular expressions as a tuple."""
    if callable(x):
        return of_path_and_leaf(argument, x)
    found = (x,) if isinstance(x, str) else x
    is_sequence = isinstance(found, Sequence) and all(isinstance(y, str) for y in found)
    if not is_sequence:
        must = "be regular expressions or a function of a path and a leaf"
        refuse_kind(argument, must, x)
    return tuple(_expression(argument, y) for y in found)


def by_path(argument: str, x: Any) -> Any:
    """A dict whose keys are regular expressions."""
    if not isinstance(x, Mapping) or not all(isinstance(key, str) for key in x):
        refuse_kind(argument, "be a dict with regular expressions as keys", x)
    return {_expression(argument, key): value for key, value in x.items()}


def _expression(argument: str, x: str) -> str:
    try:
        re.compile(x)
    except re.error as error:
        refuse(argument, f"be a regular expression ({error})", x)
    return x


def mask(argument: str, x: Any) -> Any:
    """None, a tree of bools, or a function that returns one."""
    leaves = [] if callable(x) else jax.tree.leaves(x)
    if not all(isinstance(leaf, bool | np.bool_) for leaf in leaves):
        refuse_kind(argument, "be a tree of bools or a function of the params", x)
    return x


def function(argument: str, x: Any) -> Callable[..., Any]:
    """Something that can be called."""
    if not callable(x):
        refuse_kind(argument, "be callable", x)
    return x


def takes_keywords(argument: str, x: Any, names: str, *, before: int = 0) -> Any:
    """A function of `before` positional arguments and of these keywords.

    It may have other arguments, too: extra args may provide them.
    """
    function(argument, x)
    try:
        signature = inspect.signature(x)
    except (TypeError, ValueError):  # a built-in: an error comes when it is called
        return x
    try:
        signature.bind_partial(*[None] * before, **dict.fromkeys(names.split()))
    except TypeError:
        how = ", ".join(f"`{name}`" for name in names.split())
        first = f"{before} positional arguments and " if before else ""
        refuse_kind(argument, f"take {first}the keywords {how}", x)
    return x


def random_key(argument: str, x: Any) -> Any:
    """A single key of `jax.random`, typed or raw."""
    dtype, shape = getattr(x, "dtype", None), getattr(x, "shape", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if not (shape == () if typed else dtype == jnp.uint32 and shape == (2,)):
        refuse_kind(argument, "be a key of jax.random", x)
    return x


def transformation(argument: str, x: Any, verb: str = "be") -> Any:
    """An Optax transformation, made to accept extra arguments."""
    if not isinstance(x, optax.GradientTransformation):
        is_multi_steps = isinstance(x, optax.MultiSteps)
        hint = "Write `.gradient_transformation()` after it." if is_multi_steps else ""
        refuse_kind(argument, f"{verb} an optax.GradientTransformation", x, hint)
    return optax.with_extra_args_support(x)


def refuse_unlike(argument: str, must: str, got: Any, like: Any) -> None:
    """Refuses a tree whose structure or leaf shapes differ from those of `like`."""

    def kinds(tree):
        return jax.tree.structure(tree), list(map(jnp.shape, jax.tree.leaves(tree)))

    if kinds(got) != kinds(like):
        refuse(argument, must, got)
