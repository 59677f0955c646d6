"""SWATS: Adam, then SGD with momentum at the rate that Adam's steps amounted to."""

from typing import Any

from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras._numerics import as_float
from optax_extras._rates.rate import RateFactor, RateState
from optax_extras.rules._adam import adam
from optax_extras.rules._conditions import Condition
from optax_extras.rules._kernel import Rule
from optax_extras.rules._projection import projection
from optax_extras.rules._rated import rated
from optax_extras.rules._switch import switch_rules
from optax_extras.rules._tableau import Tableau


def swats(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    *,
    tolerance: ArrayLike = 1e-3,
    tolerance_mode: str = "relative",
    min_steps: ArrayLike = 1000,
    max_steps: ArrayLike | None = None,
    require_positive: bool = True,
    estimator: str = "average",
    nesterov: bool = False,
    axis_name: Any = None,
) -> Rule:
    r"""Adam, then SGD with momentum; see `oxe.swats`.

    A switch from :func:`adam`, with ``eps_hat=True``, when
    :func:`projected_rate_settles` fires with the estimate :math:`\Lambda`, to

    .. math::
        m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad
        u = \Lambda m \;\text{ or, with Nesterov, }\;
            \Lambda (\beta_1 m + (1 - \beta_1) g)

    whose :math:`m` starts at zero again: Adam's own recursion, in Adam's own buffer.
    The paper writes :math:`(1 - \beta_1) v` for this :math:`m`, with
    :math:`v \leftarrow \beta_1 v + g`. Here :math:`\Lambda` is that of a direction
    without rate, and the rate is chained behind, for both phases.

    Args:
      b1: :math:`\beta_1` in [0, 1), of both phases.
      b2: :math:`\beta_2` in [0, 1), of Adam and of the average of the projected rate.
      eps: :math:`\hat\epsilon \ge 0`.
      tolerance: Above 0; this and the arguments down to `estimator`, and `axis_name`,
        are those of :func:`projected_rate_settles`.
      tolerance_mode: ``"relative"`` or ``"absolute"``.
      min_steps: The first update after which it may switch, an integer of at least 1.
      max_steps: The update after which it switches without agreement, an integer of at
        least `min_steps`; None: none.
      require_positive: Whether it waits, also past `max_steps`, until the estimate is
        positive.
      estimator: ``"average"`` or ``"ratio"``.
      nesterov: Whether the momentum of the second phase looks ahead.
      axis_name: None, a name or names of axes of the mesh, or a tree of PartitionSpecs.

    Returns:
      An `oxe.Rule` with the buffers `mu` and `nu`. It carries an `oxe.SwitchState`:
      the running estimate is `watch.estimate`, :math:`\Lambda` is
      `second.rate_factor` once `switched`, and 1 before.

    Raises:
      ValueError: If a number is out of range, a word unknown, or `max_steps` below
        `min_steps`.
      TypeError: If what must be a number is not one, a flag no bool, or `axis_name` of
        another kind.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.scale_by_moments(oxe.rules.swats(min_steps=500), per_leaf=True)

    References:
      Keskar and Socher, `Improving generalization performance by switching from Adam
      to SGD <https://arxiv.org/abs/1712.07628>`_, 2017
    """
    b2 = _checks.real("swats", "b2", b2, "[0, 1)")
    settles = projection(
        "swats",
        tolerance,
        tolerance_mode=tolerance_mode,
        min_steps=min_steps,
        max_steps=max_steps,
        require_positive=require_positive,
        estimator=estimator,
        decay=b2,
        axis_name=axis_name,
    )
    return between(settles, b1, b2, eps, nesterov)


def between(
    settles: Condition, b1: Any, b2: Any, eps: Any, nesterov: Any, scaled: bool = True
) -> Rule:
    """The rule with its condition; if not `scaled`, the second phase has no size."""
    _check(b1, eps)
    first, second = adam(b1, b2, eps, eps_hat=True), _projected(b1, nesterov)
    handoff = _hand_over if scaled else None
    return switch_rules(first, second, settles, handoff=handoff)


def algorithm_1(
    rate: Any, b1: Any, b2: Any, eps: Any, tolerance: Any, axis_name: Any
) -> Rule:
    """Algorithm 1 of the paper: the rate inside the projection, none afterwards."""
    settles = projection(
        "swats",
        tolerance,
        tolerance_mode="absolute",
        min_steps=2,
        max_steps=None,
        require_positive=False,
        estimator="average",
        decay=b2,
        axis_name=axis_name,
        correct_every_step=True,
    )
    _check(b1, eps)
    first = rated(adam(b1, b2, eps, eps_hat=True), rate)
    second = _projected(b1, False, RateState)
    return switch_rules(first, second, settles, handoff=_hand_over)


def _check(b1: Any, eps: Any) -> None:
    """In the name of this rule, before Adam does."""
    _checks.real("swats", "b1", b1, "[0, 1)")
    _checks.real("swats", "eps", eps, "[0, inf)")


def _projected(b1: Any, nesterov: bool, carry: Any = RateFactor) -> Rule:
    """The second phase: an average of gradients, times the number that it carries."""
    nesterov = _checks.flag("swats", "nesterov", nesterov)

    def step(t, carry):
        size = carry[0]
        n0, n1 = (size * (1 - b1), size * b1) if nesterov else (0, size)
        return Tableau(a1=b1, c1=1 - b1, n0=n0, n1=n1), carry

    return Rule(lambda: carry(as_float(1)), step, None, frozenset({"mu"}))


def _hand_over(*, watch: Any, first: Any, second: Any) -> Any:
    del first
    return type(second)(watch.estimate)
