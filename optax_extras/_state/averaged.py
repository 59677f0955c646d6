"""Reading an average of the weights from a state."""

from typing import Any

from optax_extras._checks import checked
from optax_extras._errors import refusal, refuse
from optax_extras._types import State
from optax_extras.averages._in_state import averaged_states, hint_if_lost


@checked
def averaged(state: State, name: str | None = None) -> Any:
    """The average of the weights that :func:`with_average` keeps in a state.

    It is found inside chains, masks, `MultiSteps` and other wrappers, and may be read
    inside `jit`. Before any update it is the initial params. In the state of Flax NNX
    its leaves are wrapped as those of the state are; ``nnx.update(model, average)``
    puts them into a model.

    Args:
      state: The state of an optimizer, or a tree that contains one. In Flax NNX the
        optimizer or its ``opt_state``; its ``nnx.state`` consists of dicts.
      name: Which average, if there are several.

    Returns:
      A tree like the params, in their dtypes: those that the optimizer inside gets,
      float32 inside of :func:`with_master_copy`. It shares no arrays with the state,
      which may be donated; inside `jit` no copy is made.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_extras as oxe
      >>> averages = {"all": oxe.averages.uniform(), "late": oxe.averages.uniform(2)}
      >>> tx = oxe.with_average(optax.sgd(1.0), averages)
      >>> params = jnp.zeros(())
      >>> state = tx.init(params)
      >>> for _ in range(3):
      ...     updates, state = tx.update(-jnp.ones(()), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> float(oxe.averaged(state, "all")), float(oxe.averaged(state, "late"))
      (2.0, 3.0)
    """
    found = averaged_states(state)
    if not found:
        wrap = (
            "Write `oxe.with_average(tx, oxe.averages.ema(0.999))` for the optimizer."
        )
        hint = hint_if_lost(state) or wrap
        raise refusal(ValueError, "state", "hold an average", "none", hint)
    names = list(dict.fromkeys(x for _, node in found for x in node.averages))
    if name is None and len(names) == 1:
        name = names[0]
    if not isinstance(name, str) or name not in names:
        hint = f"Write `oxe.averaged(state, {names[0]!r})`." if name is None else ""
        refuse("name", f"be one of {', '.join(map(repr, names))}", name, hint)
    holders = [(path, node) for path, node in found if name in node.averages]
    if len(holders) > 1:
        places = ", ".join(path or "itself" for path, _ in holders)
        hint = "Read it from a part of the state, or put `with_average` around all."
        must = f"hold one average of the name {name!r}"
        raise refusal(ValueError, "state", must, f"{len(holders)}, at {places}", hint)
    return holders[0][1].averaged(name)
