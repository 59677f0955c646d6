"""After a switch: the second phase alone, without what the first one needed."""

from collections.abc import Callable
from typing import Any

import optax

from optax_extras import _checks
from optax_extras.rules._kernel import Rule, settled, settling


def settle(tx: Any, state: Any) -> tuple[Any, Any]:
    """The second phase alone, with its state, once the switch is over.

    A switch never goes back, and yet the program carries the first phase along: its
    buffers, Adam's second moment among them, and the scalars of both. This drops them.
    Call it between two updates, outside `jit`; the next update is compiled anew. The
    run goes on as if nothing had happened: for :func:`swats` bit for bit, for other
    pairs but for rounding, as the compiler may now fuse operations otherwise.

    Of switches within one another the outermost is settled; call it again for the next.
    Where the switch is a link of a chain of yours, settle the link and make the chain
    again.

    Args:
      tx: What :func:`switch`, :func:`swats` or :func:`scale_by_moments` of a switch
        returned; or one of these in :func:`low_precision_state`.
      state: Its state; where `tx` is a rule, the `MomentsState` of that rule.

    Returns:
      The pair ``(tx, state)`` of what is left: a rule for a rule, else a
      transformation.

    Raises:
      ValueError: If the switch is not over; where every leaf switches by itself, if any
        leaf that is not empty has not switched.
      TypeError: If `tx` is no switch, or `state` not its state.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> tx = oxe.swats(1e-3, min_steps=1, max_steps=1)
      >>> params = jnp.ones(3)
      >>> updates, state = tx.update(params, tx.init(params))
      >>> tx, state = oxe.settle(tx, state)
    """
    if isinstance(tx, Rule) and tx.settle is not None:
        return _of_its_own(state, lambda: settled(tx, state))
    settle_now = getattr(getattr(tx, "update", None), "settle", None)
    if settle_now is None:
        must = "be what `switch`, `swats` or `scale_by_moments` of a switch returned"
        _checks.refuse_kind("settle", "tx", must, tx)
    return _of_its_own(state, lambda: settle_now(state))


def _of_its_own(state: Any, settle_now: Callable[[], Any]) -> Any:
    try:
        return settle_now()
    except (AttributeError, IndexError, KeyError, TypeError):
        must = "be the state of `tx`, as its last update returned it, outside `jit`"
        _checks.refuse_kind("settle", "state", must, state)


def chain(*links: Any, switching: Any) -> optax.GradientTransformationExtraArgs:
    """A chain that can be settled, one of whose links switches."""
    at = links.index(switching)

    def settle_link(state):
        left, own = switching.update.settle(state[at])
        rest, states = [*links], [*state]
        rest[at], states[at] = left, own
        return optax.chain(*rest), tuple(states)

    return settling(optax.chain(*links), settle_link)
