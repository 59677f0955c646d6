"""What a rule makes of the update it made: its `after`, at the least cost."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optax_extras import _checks
from optax_extras._kernel.tableau import Tableau, direct
from optax_extras._numerics import compute_dtype, real_dtype


class Made(NamedTuple):
    """The update of one leaf."""

    tableau: Tableau
    g: Any
    u: Any
    buffers: tuple[Any, Any, Any]
    """The new ones: mu, nu, nu_max."""


def see(rule: Any, t: Any, carry: Any, made: list[Made], shape: Any, seen: Any) -> Any:
    """The carry once the rule has seen the update of these leaves, made to a tree.

    Where there is nothing to see the leaves are not touched, in a conditional. What a
    conditional is handed has to lie in memory: it is not handed the directions, which
    then never do, but makes them again, from buffers that are there anyway.
    """

    def after(us):
        new = rule.after(t, carry, updates=shape(us), **seen)
        return jax.tree.map(lambda x, old: jnp.asarray(x, old.dtype), new, carry)

    needs_after = True if rule.needs_after is None else rule.needs_after(carry)
    if not _checks.is_traced(needs_after):
        return after([leaf.u for leaf in made]) if needs_after else carry

    def look():
        exact = all(map(_is_exact, made))
        return after([_again(leaf) if exact else leaf.u for leaf in made])

    return jax.lax.cond(needs_after, look, lambda: carry)


def given(rule: str, extra: dict[str, Any], **own: Any) -> dict[str, Any]:
    """All that what looks on is given by keyword; no extra argument hides ours."""
    for name in own.keys() & extra.keys():
        must = "be no extra argument of `update`, which gives its own by that name"
        _checks.refuse(rule, name, must, extra[name])
    return {**own, **extra}


def _again(leaf: Made) -> Any:
    return direct(leaf.tableau, leaf.g, *leaf.buffers)


def _is_exact(leaf: Made) -> bool:
    """Whether the buffers are kept as they were computed, without rounding."""
    dtypes = [x.dtype for x in leaf.buffers if x is not None]
    if leaf.g is None or not dtypes:
        return True
    real = real_dtype(compute_dtype(leaf.g.dtype, *dtypes))
    return all(real_dtype(dtype) == real for dtype in dtypes)
