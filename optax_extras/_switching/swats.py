"""SWATS: Adam, then SGD with momentum at the rate that Adam's steps amounted to."""

from typing import Any

import optax
from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras._kernel._decay import Mask, add_decayed_weights
from optax_extras._kernel._float32 import rounded_once
from optax_extras._kernel.scale_by_moments import Rule, scale_by_moments
from optax_extras._kernel.tableau import Tableau
from optax_extras._kernel.with_learning_rate import with_learning_rate
from optax_extras._learning_rates._source import RateFactor, RateState, as_rate
from optax_extras._learning_rates.scale_by_rate import scale_by
from optax_extras._numerics import as_float
from optax_extras._optimizers.adam import adam_rule
from optax_extras._switching._collectives import check_axes
from optax_extras._switching._phase_rate import scale_by_either_rate
from optax_extras._switching._switch_rules import switch_rules
from optax_extras._switching.conditions import Condition
from optax_extras._switching.projected_rate import projection


def swats_rule(
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
      An `oxe.Rule` with the buffers `mu` and `nu`. It carries a
      `states.SwitchState`: the running estimate is `condition_state.estimate`,
      :math:`\Lambda` is `second.rate_factor` once `switched`, and 1 before.

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
    first, second = adam_rule(b1, b2, eps, eps_hat=True), _projected(b1, nesterov)
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
    first = with_learning_rate(adam_rule(b1, b2, eps, eps_hat=True), rate)
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


def _hand_over(*, condition_state: Any, first: Any, second: Any) -> Any:
    del first
    return type(second)(condition_state.estimate)


def scale_by_swats(
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
    per_leaf: bool = False,
    axis_name: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The direction of `swats` and its arguments, without rate and sign."""
    rule = swats_rule(
        b1,
        b2,
        eps,
        tolerance=tolerance,
        tolerance_mode=tolerance_mode,
        min_steps=min_steps,
        max_steps=max_steps,
        require_positive=require_positive,
        estimator=estimator,
        nesterov=nesterov,
        axis_name=axis_name,
    )
    per_leaf = _checks.flag("scale_by_swats", "per_leaf", per_leaf)
    check_axes("scale_by_swats", axis_name, trees=not per_leaf)
    return scale_by_moments(rule, per_leaf=per_leaf)


def swats(
    learning_rate: ArrayLike | optax.Schedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike | None = None,
    *,
    tolerance: ArrayLike | None = None,
    tolerance_mode: str = "relative",
    min_steps: ArrayLike = 1000,
    max_steps: ArrayLike | None = None,
    require_positive: bool = True,
    estimator: str = "average",
    second_rate: ArrayLike | optax.Schedule | None = None,
    weight_decay: ArrayLike = 0.0,
    decoupled: bool = False,
    mask: Mask = None,
    nesterov: bool = False,
    per_leaf: bool = False,
    axis_name: Any = None,
    paper: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Adam, then SGD with momentum at the rate that Adam's steps amounted to.

    It begins as Adam and, inside the jitted step, becomes SGD for good once an estimate
    :math:`\Lambda` of the rate that SGD would need has settled; nobody has to find that
    rate. Its authors report that it generalizes as SGD does; on small problems we
    measured no difference from Adam. :func:`adabound` goes over gradually, and
    :func:`switch` makes other pairs. It keeps Adam's two buffers, for both phases.

    .. math::
        u &= \frac{\sqrt{1 - \beta_2^k}}{1 - \beta_1^k}
        \frac{m}{\sqrt v + \hat\epsilon}, \qquad w \leftarrow w - \eta_t u, \\
        \gamma &= \frac{u \cdot u}{u \cdot g}, \qquad
        \lambda \leftarrow \beta_2 \lambda + (1 - \beta_2) \gamma, \qquad
        \Lambda = \frac{\lambda}{1 - \beta_2^k}

    at update :math:`k = 1, 2, \dots`, with Adam's :math:`m` and :math:`v` and dot
    products over all params, until :math:`|\Lambda - \gamma| < \epsilon \Lambda`; from
    the next update on, :math:`m` starting at zero and :math:`\Lambda` fixed,

    .. math::
        m &\leftarrow \beta_1 m + (1 - \beta_1) g, \\
        w &\leftarrow w - \eta_t \Lambda m \;\text{ or, with Nesterov, }\;
        w - \eta_t \Lambda (\beta_1 m + (1 - \beta_1) g)

    In the paper :math:`\gamma` and :math:`\Lambda` contain Adam's rate, and there is no
    rate after the switch. With a constant rate that is the same; here a schedule acts
    on both phases alike and does not disturb the estimate. The paper compares the
    difference with 1e-9, which in practice it is never below; here it is compared with
    a share of :math:`\Lambda`, not before `min_steps`, and only if :math:`\Lambda > 0`.

    A gradient that is not finite, or for which :math:`u \cdot g` is 0, leaves
    :math:`\lambda` as it was, is not counted in its :math:`k`, and does not cause the
    switch. A NaN or an infinity stays in Adam's moments, and the switch never comes:
    keep them out, as with ``optax.apply_if_finite``. A gradient of 1e20, whose square
    overflows, makes Adam's steps 0 for good; `max_steps` then switches with the last
    estimate there was. Where :math:`u \cdot g < 0`, the negative :math:`\gamma` enters
    the average, as in the paper.

    Args:
      learning_rate: :math:`\eta_t \ge 0`: a number, a schedule, which is called with
        the number of updates already made, or a metric schedule.
      b1: :math:`\beta_1` in [0, 1), of both phases.
      b2: :math:`\beta_2` in [0, 1), of Adam and of the average.
      eps: :math:`\hat\epsilon \ge 0`. None: 1e-8, or with `paper` 1e-9.
      tolerance: :math:`\epsilon > 0`. None: 1e-3, or with `paper` the same as `eps`.
      tolerance_mode: ``"relative"``, or ``"absolute"``:
        :math:`|\Lambda - \gamma| < \epsilon`, both without :math:`\eta_t`.
      min_steps: The first update after which it may switch, at least 1; an epoch is a
        good choice.
      max_steps: The update after which it switches in any case, not below `min_steps`;
        None: it waits for the estimate.
      require_positive: Whether it waits, also past `max_steps`, until the estimate is
        positive.
      estimator: ``"average"`` as above, or ``"ratio"``: the average of
        :math:`u \cdot u` over that of :math:`u \cdot g`, much less noisy.
      second_rate: The rate of the second phase in the place of :math:`\Lambda \eta_t`,
        at least 0: a number or, not with `per_leaf`, a schedule that counts the second
        phase's own updates, or a metric schedule; :math:`\Lambda` is then only read.
        None: :math:`\Lambda \eta_t`.
      weight_decay: :math:`d \ge 0`: :math:`d\, w` is added to the gradient, and so
        enters the projection, as in the paper. `update` then needs the params, and
        the sum lies in memory, as a second temporary of their size.
      decoupled: Whether instead :math:`\eta_t d\, w` is subtracted from the weights, in
        both phases.
      mask: What is decayed: a tree of bools like the params, or a function from the
        params to one. None means all.
      nesterov: Whether the momentum of the second phase looks ahead.
      per_leaf: Whether every leaf has an estimate of its own, and switches by itself.
      axis_name: Inside of `jax.shard_map`, over which of the mesh's axes the sums
        :math:`u \cdot u` and :math:`u \cdot g` go on, for the estimate to be one of
        all params: a name or a tuple of names where every leaf is split over them, or
        the tree of `PartitionSpec` of the params where some are whole (not with
        `per_leaf`, under which all have to be split over the same axes). None: a sum
        over what a device holds; right outside of `shard_map`, under `jit`.
      paper: Whether to follow Algorithm 1 to the letter: the rate, a number, inside the
        projection and none after the switch; an absolute tolerance; a switch from the
        second update on, of any sign. `tolerance_mode` and `require_positive` have no
        say then; of the other options only `b1`, `b2`, `eps`, `tolerance`,
        `weight_decay`, `mask` and `axis_name` may be given.

    Returns:
      An `optax.GradientTransformationExtraArgs`. :func:`learning_rate` reads the rate,
      :math:`\Lambda \eta_t` after the switch (with `paper` :math:`\Lambda`), and
      ``optax.tree.get(state, name)`` the rest: ``"switch_step"``, the last update of
      Adam, -1 until then; ``"estimate"``, the running :math:`\Lambda`;
      ``"rate_factor"``, the :math:`\Lambda` that is used, 1 until then.

    Raises:
      ValueError: If a number is out of range, a word unknown, `max_steps` below
        `min_steps`, `second_rate` no number with `per_leaf`, or, with `paper`,
        `learning_rate` no number or an option given that the paper does not have.
      TypeError: If an argument is not of the kind said above.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.swats(oxe.schedules.cosine(1e-3, 10_000), min_steps=500)

    References:
      Keskar and Socher, `Improving generalization performance by switching from Adam
      to SGD <https://arxiv.org/abs/1712.07628>`_, 2017
    """
    _checks.number_or_schedule("swats", "learning_rate", learning_rate, "[0, inf)")
    for name, x in (("b1", b1), ("b2", b2)):
        _checks.real("swats", name, x, "[0, 1)")
    if eps is not None:
        _checks.real("swats", "eps", eps, "[0, inf)")
    decoupled = _checks.flag("swats", "decoupled", decoupled)
    per_leaf = _checks.flag("swats", "per_leaf", per_leaf)
    before, behind = (0.0, weight_decay) if decoupled else (weight_decay, 0.0)
    _checks.real("swats", "weight_decay", weight_decay, "[0, inf)")
    _checks.mask("swats", mask)
    check_axes("swats", axis_name, trees=not per_leaf)
    if _checks.flag("swats", "paper", paper):
        left = {
            "estimator": (estimator, "average"),
            "min_steps": (min_steps, 1000),
            "max_steps": (max_steps, None),
            "second_rate": (second_rate, None),
            "decoupled": (decoupled, False),
            "nesterov": (nesterov, False),
            "per_leaf": (per_leaf, False),
        }
        for name, (got, default) in left.items():
            if got is not default and (_checks.is_traced(got) or got != default):
                _checks.refuse("swats", name, f"be {default!r} with `paper`", got)
        if callable(learning_rate):
            must = "be a number with `paper`"
            _checks.refuse("swats", "learning_rate", must, learning_rate)
        eps = 1e-9 if eps is None else eps
        tolerance = eps if tolerance is None else tolerance
        rule = algorithm_1(learning_rate, b1, b2, eps, tolerance, axis_name)
        decay = add_decayed_weights(weight_decay, mask, rule="swats")
        direction = scale_by_moments(rule)
        down = optax.scale(-1.0)
        return rounded_once(optax.chain(decay, direction, down))

    settles = projection(
        "swats",
        1e-3 if tolerance is None else tolerance,
        tolerance_mode=tolerance_mode,
        min_steps=min_steps,
        max_steps=max_steps,
        require_positive=require_positive,
        estimator=estimator,
        decay=b2,
        axis_name=axis_name,
    )
    eps, scaled = 1e-8 if eps is None else eps, second_rate is None
    rule = between(settles, b1, b2, eps, nesterov, scaled)
    direction = scale_by_moments(rule, per_leaf=per_leaf)
    l2 = add_decayed_weights(before, mask, rule="swats")
    if second_rate is None:
        decay, last = (
            add_decayed_weights(behind, mask, rule="swats"),
            scale_by(as_rate("swats", "learning_rate", learning_rate)),
        )
        return rounded_once(optax.chain(l2, direction, decay, last))
    if per_leaf and callable(second_rate):
        must = "be a number with `per_leaf`"
        _checks.refuse("swats", "second_rate", must, second_rate)
    rates = scale_by_either_rate(
        "swats", direction, learning_rate, second_rate, behind, mask
    )
    return rounded_once(optax.chain(l2, rates))
