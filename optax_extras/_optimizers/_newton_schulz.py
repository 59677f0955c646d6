"""The Newton-Schulz iteration of `muon`, for many matrices at once."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras import _check_values
from optax_extras._errors import refuse, refuse_kind
from optax_extras._leaves import compute_dtype
from optax_extras._numerics import sqrt

_SIMPLE = (3.4445, -4.7750, 2.0315)

COEFFICIENTS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "simple": (_SIMPLE,) * 5,
    "quintic": (
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ),
    "polar_express": (
        (8.156554524902461, -22.48329292557795, 15.878769915207462),
        (4.042929935166739, -2.808917465908714, 0.5000178451051316),
        (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
        (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
        (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
    ),
    "polar_express_8": (
        (8.2051, -22.9019, 16.4607),
        (4.0664, -2.8612, 0.5184),
        (3.9096, -2.8234, 0.5250),
        (3.2856, -2.4153, 0.4853),
        (2.2779, -1.6198, 0.3985),
        (1.8726, -1.2307, 0.3585),
        (1.8564, -1.2132, 0.3568),
        (1.8750, -1.2500, 0.3750),
    ),
    "cans": (
        (8.4703, -25.1081, 18.6293),
        (4.1828, -3.1087, 0.5806),
        (3.9619, -2.9541, 0.5630),
        (3.2866, -2.4647, 0.5074),
        (2.2737, -1.6447, 0.4162),
    ),
    "aol": (
        (4.0098, -7.0585, 2.4635),
        (3.4585, -5.5479, 2.5959),
        (2.7573, -3.2939, 1.4254),
        (2.7215, -3.0494, 1.3169),
    ),
    "deepseek_v4": (_SIMPLE,) * 8 + ((2.0, -1.5, 0.5),) * 2,
    "cubic": (
        (3.3656576, -3.3420992, 0.0),
        (2.5744352, -1.4957376, 0.0),
        (2.5368962, -1.4312570, 0.0),
        (2.4418906, -1.2764040, 0.0),
        (2.2230472, -0.9630650, 0.0),
    ),
}
# By how much the norm is enlarged, since singular values above 1 would grow.
_MARGINS = {"polar_express": 1.02}


# On a CPU a stack is iterated in some pieces, which fit its cache and run side by side.
_PIECES = 12


class Iteration(NamedTuple):
    """What the iteration does, besides the coefficients."""

    eps: Any
    """The smallest norm to divide by."""
    margin: float
    """The factor of the norm."""
    by_rows: bool
    """Whether the first iteration scales rows and columns of the Gram matrix."""
    dtype: Any
    """The dtype to iterate in; None: the matrices'."""
    added: Any = 0.0
    """What is added to the norm."""


def as_iteration(ns_coefficients: Any, eps: Any, dtype: Any) -> Any:
    """The checked coefficients, a triple for each iteration, and the `Iteration`."""
    name = ns_coefficients if isinstance(ns_coefficients, str) else ""
    iteration = Iteration(eps, _MARGINS.get(name, 1.0), name == "aol", dtype)
    if not name:
        return _triples(ns_coefficients), iteration
    if name not in COEFFICIENTS:
        names = ", ".join(map(repr, COEFFICIENTS))
        must = f"be one of {names}, or a triple for each iteration"
        refuse("ns_coefficients", must, ns_coefficients)
    return COEFFICIENTS[name], iteration


def _triples(given: Any) -> tuple[tuple[Any, Any, Any], ...]:
    must = "be a name, or a sequence with a triple of numbers for each iteration"
    hint = "For the same triple in 5 iterations write `[(a, b, c)] * 5`."
    is_sequence = isinstance(given, tuple | list) or getattr(given, "ndim", 0) > 0
    if not is_sequence:
        refuse_kind("ns_coefficients", must, given, hint)
    for triple in given:
        is_triple = isinstance(triple, tuple | list) or np.ndim(triple) > 0
        if not is_triple or len(triple) != 3:
            refuse("ns_coefficients", must, given, hint)
    return tuple(
        tuple(_check_values.real(f"ns_coefficients[{i}]", x) for x in triple)
        for i, triple in enumerate(given)
    )


def orthogonalize(
    stacks: list[jax.Array], coefficients: Any, iteration: Iteration
) -> list[jax.Array]:
    """Makes the singular values of the matrices in stacks of (batch, m, n) about 1.

    On one device those of (m, n) and (n, m) are iterated together. On several they may
    be sharded differently.
    """
    together: dict[Any, list[int]] = {}
    for i, x in enumerate(stacks):
        one = (*sorted(x.shape[1:]), x.dtype)
        together.setdefault(one if jax.device_count() == 1 else i, []).append(i)
    results = list(stacks)
    for members in together.values():
        turned = [_is_turned(stacks[i], iteration) for i in members]
        pairs = zip(members, turned, strict=True)
        wide = [stacks[i].mT if turn else stacks[i] for i, turn in pairs]
        joined = jax.lax.concatenate(wide, 0) if len(wide) > 1 else wide[0]
        done = _iterate_each(joined, coefficients, iteration)
        rows = jax.lax.split(done, list(map(len, wide)))
        for i, turn, x in zip(members, turned, rows, strict=True):
            results[i] = x.mT if turn else x
    return results


def _is_turned(x: jax.Array, iteration: Iteration) -> bool:
    """Whether an array of (batch, inputs, outputs) is iterated transposed.

    If rows are scaled, those of a square matrix are its outputs, as in PyTorch's form.
    """
    inputs, outputs = x.shape[1:]
    return inputs > outputs or (iteration.by_rows and inputs == outputs)


def _iterate_each(stack: jax.Array, coefficients: Any, iteration: Iteration) -> Any:
    """The iteration of matrices that are not taller than wide."""
    iterate = partial(_iterate, coefficients=coefficients, iteration=iteration)
    if jax.device_count() > 1 or len(stack) < 2:
        return iterate(stack)

    def in_pieces(stack: jax.Array) -> jax.Array:
        pieces = jnp.array_split(stack, min(_PIECES, len(stack)))
        return jax.lax.concatenate(list(map(iterate, pieces)), 0)

    return jax.lax.platform_dependent(stack, cpu=in_pieces, default=iterate)


def _iterate(x: jax.Array, coefficients: Any, iteration: Iteration) -> jax.Array:
    dtype = x.dtype
    norm = sqrt(jnp.sum(jnp.square(x), (-2, -1), keepdims=True))
    least = np.sqrt(jnp.finfo(dtype).tiny)  # at an epsilon of 0: 0 / 0 is 0
    bottom = jnp.maximum(iteration.eps, least)
    x = x / jnp.maximum(iteration.margin * norm + iteration.added, bottom)
    x = x if iteration.dtype is None else x.astype(iteration.dtype)
    one = jnp.eye(x.shape[-2], dtype=x.dtype)[None]
    wide = compute_dtype(x.dtype)
    for i, (a, b, c) in enumerate(coefficients):
        gram = x @ x.mT
        if iteration.by_rows and i == 0:
            roots = sqrt(jnp.sum(jnp.abs(gram), -1, keepdims=True))
            # At rows of 0 the derivative of `rsqrt` would not be finite.
            scale = 1 / jnp.maximum(roots, np.sqrt(jnp.finfo(x.dtype).tiny))
            x, gram = scale * x, scale * gram * scale.mT
        inner = b * gram.astype(wide)
        if not (isinstance(c, int | float) and c == 0):
            inner += c * _product(gram, gram, wide)
        if x.dtype == wide:
            # With a in the small matrix there is one pass less over the large one.
            x = (a * one + inner) @ x
        else:
            # In half precision sums are rounded once, as PyTorch's `addmm` does it:
            # "cans" diverges otherwise, and other sets have twice the error.
            x = a * x.astype(wide) + _product(inner.astype(x.dtype), x, wide)
            x = x.astype(gram.dtype)
    return x.astype(dtype)


def _product(x: jax.Array, y: jax.Array, wide: Any) -> jax.Array:
    """The product of matrices, with sums in the wide dtype."""
    if x.dtype == wide:
        return x @ y
    # jaxlib 0.8 cannot multiply half-precision matrices into wider ones on a CPU.
    return jax.lax.platform_dependent(
        x,
        y,
        cpu=lambda x, y: x.astype(wide) @ y.astype(wide),
        default=partial(jnp.matmul, preferred_element_type=wide),
    )
