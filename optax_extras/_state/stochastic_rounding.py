"""Stochastic rounding: half-precision params follow their updates on average."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from optax_extras._boxes import is_none
from optax_extras._check_values import numbers
from optax_extras._checks import Key, checked
from optax_extras._errors import refuse
from optax_extras._leaves import is_half
from optax_extras._state._hash import hash_bits
from optax_extras._types import Params, Updates


@checked
def apply_updates_stochastic(params: Params, updates: Updates, key: Key) -> Any:
    r"""Adds updates to half-precision params, rounded up or down at random.

    Half-precision numbers are far apart: the next bfloat16 above 1 is 1.0078, and
    ``optax.apply_updates`` rounds away every update of less than half of that gap. Here
    the sum :math:`x = p + u` of a param and its update, computed in float32, becomes
    one of the two neighbors :math:`\lfloor x \rfloor \le x \le \lceil x \rceil` of the
    param's dtype:

    .. math::
        p \leftarrow \lceil x \rceil \;\text{ with probability }\;
            \frac{x - \lfloor x \rfloor}{\lceil x \rceil - \lfloor x \rfloor},
            \quad \lfloor x \rfloor \;\text{ else}

    so that the mean is :math:`x`. It costs no memory and one random number of 16 bits
    for each weight; :func:`with_master_copy` and :func:`with_compensation` are exact
    and cost memory. Other leaves (float32 and above, complex, integers) are updated as
    by ``optax.apply_updates``.

    Args:
      params: The params, a tree of arrays; None stays None.
      updates: A tree like it; None leaves a param unchanged. Half-precision updates
        have lost digits already: give the optimizer float32 gradients, so that it
        returns float32 updates.
      key: A new key for each update.

    Returns:
      The new params, of the same structure and dtypes.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_extras as oxe
      >>> params = jnp.ones(1000, jnp.bfloat16)
      >>> updates = jnp.full(1000, 1e-3)
      >>> new = oxe.apply_updates_stochastic(params, updates, jax.random.key(0))
      >>> bool(jnp.abs(new.astype(jnp.float32).mean() - 1.001) < 5e-4)
      True
      >>> bool(jnp.all(optax.apply_updates(params, updates) == params))
      True

    References:
      Zamirai et al., `Revisiting BFloat16 training <https://arxiv.org/abs/2010.06192>`_,
      2021
    """
    found, treedef = jax.tree_util.tree_flatten_with_path(params, is_leaf=is_none)
    try:
        changes = treedef.flatten_up_to(updates)
        fits = jax.tree_util.all_leaves(changes, is_leaf=is_none)
    except ValueError:
        fits = False
    if not fits:
        refuse("updates", f"have the structure of `params`, {treedef}", updates)
    for (path, p), u in zip(found, changes, strict=True):
        _check(path, p, u)
    keys = jax.random.split(key, max(len(found), 1))
    rows = zip(found, changes, keys, strict=False)
    return treedef.unflatten([_rounded_sum(p, u, subkey) for (_, p), u, subkey in rows])


def _check(path: Any, p: Any, u: Any) -> None:
    if p is None or u is None:
        return
    name = f"updates{jax.tree_util.keystr(path)}"
    param = f"params{jax.tree_util.keystr(path)}"
    numbers(param, p)
    numbers(name, u)
    if jnp.shape(u) != jnp.shape(p):
        refuse(name, f"have the shape of its param, {jnp.shape(p)}", jnp.shape(u))
    if jnp.iscomplexobj(u) and not jnp.iscomplexobj(p):
        refuse(name, "be real, as its param is", str(jnp.result_type(u)))


def _rounded_sum(p: Any, u: Any, key: jax.Array) -> Any:
    if p is None or u is None:
        return p
    dtype = jnp.result_type(p)
    if not is_half(p):
        return optax.apply_updates(p, u)
    exact = p.astype(jnp.float32) + jnp.asarray(u, jnp.float32)
    near = exact.astype(dtype)
    off = exact - near.astype(jnp.float32)
    other = jnp.nextafter(near, jnp.where(off > 0, jnp.inf, -jnp.inf).astype(dtype))
    gap = jnp.abs(other.astype(jnp.float32) - near.astype(jnp.float32))
    # The distance is a multiple of 2^-16 of the gap, so 16 random bits are exact.
    salt = jax.random.bits(key, dtype=jnp.uint32)
    bits = (hash_bits(exact.shape, salt) >> 16).astype(jnp.float32)
    return jnp.where(bits * gap < jnp.abs(off) * 2**16, other, near)
