"""Checks of single values: each takes the argument's name, and returns the value.

They look at concrete values only. A NumPy number comes back as Python's own, any JAX
array as it is.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from optax_extras._errors import refuse, refuse_kind

_ENDLESS = 2**100  # steps: more are the same as this
_EITHER = inspect.Parameter.POSITIONAL_OR_KEYWORD


def is_traced(x: Any) -> bool:
    """Whether `x` has no concrete value yet (inside jit, vmap or grad)."""
    return isinstance(x, Tracer)


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


def is_real(x: Any) -> bool:
    """Whether it is a real number, or a 0-d array of one."""
    return _is_scalar(x, np.integer, np.floating)


def concrete(x: Any) -> Any:
    """The Python number that a concrete scalar is.

    Inside jit an operation on a concrete `jax.Array` is traced too; on this it is not.
    """
    return x if isinstance(x, int | float) else np.asarray(x).item()


def real(argument: str, x: Any, interval: str = "(-inf, inf)") -> Any:
    """A finite real scalar in `interval`, written as in mathematics: `"[0, 1)"`."""
    if not is_real(x):
        refuse_kind(argument, "be a real number", x)
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
        except ValueError:  # its signature is not known
            pass
        return x
    if not is_real(x):
        refuse_kind(argument, "be a number or a schedule", x)
    return real(argument, x, interval)


def monitor(argument: str, x: Any) -> str:
    """The name of an extra arg, by which a metric comes."""
    if not isinstance(x, str):
        refuse_kind(argument, "be the name of an extra arg", x)
    if x in ("", "updates", "state", "params"):
        refuse(argument, "be a name that `update` does not use itself", x)
    return x


def metric(argument: str, x: Any) -> Any:
    """A real scalar as it was measured: NaN and infinities too."""
    if not is_real(x):
        refuse_kind(argument, "be a metric, a real scalar", x)
    if isinstance(x, int) and abs(x) >= 2**1024:
        refuse(argument, "be a metric, of at most 1.8e308", x)
    return x


def count(argument: str, x: Any, *, at_least: int = 1) -> Any:
    """A number of steps: an integer scalar; a concrete one, of any size, as an int."""
    must = f"be an integer of at least {at_least}"
    if not _is_scalar(x, np.integer):
        refuse_kind(argument, must, x)
    if is_traced(x):
        return x
    if concrete(x) < at_least:
        refuse(argument, must, x)
    return min(concrete(x), _ENDLESS)


def untraced(argument: str, x: Any) -> Any:
    """What decides structure, what is run or what is drawn, and so has a value."""
    if is_traced(x):
        refuse_kind(argument, "be known, as a shape is", x)
    return x


def static_count(argument: str, x: Any, *, at_least: int = 1) -> int:
    """The same, of what decides structure."""
    return untraced(argument, count(argument, x, at_least=at_least))


def integral(argument: str, x: Any, *, at_least: int = 1) -> Any:
    """A number of steps, of which other libraries write 2000. as well."""
    if isinstance(x, float | np.floating):
        if not (float(x).is_integer() and x >= at_least):
            refuse(argument, f"be a whole number of at least {at_least}", x)
        x = int(x)
    return count(argument, x, at_least=at_least)


def counts(argument: str, xs: Any) -> list[Any]:
    """Step numbers in non-decreasing order, from a sequence or a 1-d array."""
    found = [
        count(f"{argument}[{i}]", x, at_least=0)
        for i, x in enumerate(items(argument, xs))
    ]
    known = [x for x in found if not is_traced(x)]
    if known != sorted(known):
        refuse(argument, "be sorted", xs)
    return found


def reals(argument: str, xs: Any, interval: str = "(-inf, inf)") -> list:
    """Real numbers in `interval`, from a sequence or a 1-d array."""
    found = enumerate(items(argument, xs))
    return [real(f"{argument}[{i}]", x, interval) for i, x in found]


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
    """True or False: what decides structure is never a traced value."""
    if not isinstance(x, bool | np.bool_):
        refuse_kind(argument, "be True or False", x)
    return bool(x)


def dtype_name(x: Any) -> str:
    """The name of a dtype, "" of anything else, an array too."""
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


def returned(argument: str, x: Any) -> Any:
    """The real scalar that a schedule has to return."""
    if not is_real(x) and getattr(x, "shape", ()) == ():
        refuse_kind(argument, "return a real number", x)
    if np.shape(x) != ():
        refuse(argument, "return a scalar", x)
    return x


def mask(argument: str, x: Any) -> Any:
    """None, a tree of bools, or a function to one."""
    leaves = [] if callable(x) else jax.tree.leaves(x)
    if not all(isinstance(leaf, bool | np.bool_) for leaf in leaves):
        refuse_kind(argument, "be a tree of bools, or a function to one", x)
    return x


def function(argument: str, x: Any) -> Callable[..., Any]:
    """Something that can be called."""
    if not callable(x):
        refuse_kind(argument, "be callable", x)
    return x


def takes_keywords(argument: str, x: Any, names: str, *, before: int = 0) -> Any:
    """A function that can be called with these keywords, after some positions."""
    function(argument, x)
    try:
        parameters = inspect.signature(x).parameters.values()
    except (TypeError, ValueError):  # built in: to be seen when it is called
        return x
    kinds = [p.kind for p in parameters]
    placed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, _EITHER)]
    by_name = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, _EITHER)}
    by_name -= {p.name for p in placed[:before]}
    enough = len(placed) >= before or inspect.Parameter.VAR_POSITIONAL in kinds
    left = [p for p in placed[before:] if p.kind is p.POSITIONAL_ONLY]
    all_named = inspect.Parameter.VAR_KEYWORD in kinds or by_name >= {*names.split()}
    if left or not enough or not all_named:
        how = ", ".join(f"`{name}`" for name in names.split())
        first = f"{before} arguments, then " if before else ""
        refuse_kind(argument, f"take {first}the keywords {how}", x)
    return x


def random_key(argument: str, x: Any) -> Any:
    """One key of `jax.random`, typed or raw."""
    dtype, shape = getattr(x, "dtype", None), getattr(x, "shape", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if not (shape == () if typed else dtype == jnp.uint32 and shape == (2,)):
        refuse_kind(argument, "be a key of jax.random", x)
    return x


def transformation(argument: str, x: Any, verb: str = "be") -> Any:
    """An Optax transformation, with extra arguments if it had none."""
    if not isinstance(x, optax.GradientTransformation):
        refuse_kind(argument, f"{verb} an optax transformation", x)
    return optax.with_extra_args_support(x)


def refuse_unlike(argument: str, must: str, got: Any, like: Any) -> None:
    """Refuses a tree of another structure, or with leaves of other shapes."""

    def kinds(tree):
        return jax.tree.structure(tree), list(map(jnp.shape, jax.tree.leaves(tree)))

    if kinds(got) != kinds(like):
        refuse(argument, must, got)
