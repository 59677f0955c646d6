"""SWATS: Adam, then SGD with momentum at a learning rate estimated from Adam."""

from typing import Any, Literal

import optax

from optax_extras._check_values import is_traced
from optax_extras._checks import (
    Decay,
    LearningRate,
    Mask,
    NonNegative,
    Positive,
    StepCount,
    WeightDecay,
    checked,
)
from optax_extras._errors import refuse
from optax_extras._groups._freeze import freeze
from optax_extras._kernel._assemble import add_decay_with_inner_rate
from optax_extras._kernel._float32 import in_float32
from optax_extras._kernel._weight_decay import add_decayed_weights
from optax_extras._kernel.rule import Rule
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._kernel.tableau import Tableau
from optax_extras._learning_rates._source import RateFactor, RateState, as_rate
from optax_extras._learning_rates._sources_by_path import rate_source
from optax_extras._learning_rates.scale_by_rate import scale_by_source
from optax_extras._numerics import as_float
from optax_extras._optimizers.adam import adam_rule
from optax_extras._switching._collectives import check_axes
from optax_extras._switching._rate_of_each_phase import scale_by_phase_rate
from optax_extras._switching._switch_rules import switch_rules
from optax_extras._switching.conditions import Condition
from optax_extras._switching.projected_rate import (
    projected_rate_settles,
    projection_condition,
)
from optax_extras._switching.with_learning_rate import with_learning_rate


@checked
def swats_rule(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    tolerance: Positive = 1e-3,
    tolerance_mode: Literal["relative", "absolute"] = "relative",
    min_steps: StepCount = 1000,
    max_steps: StepCount | None = None,
    require_positive: bool = True,
    estimator: Literal["average", "ratio"] = "average",
    nesterov: bool = False,
    axis_name: Any = None,
) -> Rule:
    r"""Adam, then SGD with momentum; see `oxe.swats`.

    Adam is :func:`adam` with ``eps_hat=True``. When :func:`projected_rate_settles`
    fires with the estimate :math:`\Lambda`, the direction becomes :math:`\Lambda m`, or
    with Nesterov :math:`\Lambda (\beta_1 m + (1 - \beta_1) g)`. The average :math:`m`
    starts at zero again: it is Adam's own recursion in Adam's buffer. The paper writes
    :math:`(1 - \beta_1) v` for it, with :math:`v \leftarrow \beta_1 v + g`. Here
    :math:`\Lambda` belongs to a direction without a learning rate: chain the learning
    rate of both phases behind it.

    The arguments are those of `oxe.swats`.

    Returns:
      An `oxe.Rule` with the buffers `mu` and `nu`. It carries a
      `states.SwitchState`: the running estimate is `condition_state.estimate`,
      :math:`\Lambda` is `second.rate_factor` once `switched`, and 1 before.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.scale_by_moments(oxe.rules.swats(min_steps=500), per_leaf=True)
    """
    condition = projected_rate_settles(
        tolerance,
        tolerance_mode=tolerance_mode,
        min_steps=min_steps,
        max_steps=max_steps,
        require_positive=require_positive,
        estimator=estimator,
        decay=b2,
        axis_name=axis_name,
    )
    return _adam_then_momentum(condition, b1, b2, eps, nesterov, _hand_over_rate)


def _adam_then_momentum(
    condition: Condition, b1: Any, b2: Any, eps: Any, nesterov: bool, handoff: Any
) -> Rule:
    first, second = adam_rule(b1, b2, eps, eps_hat=True), _momentum(b1, nesterov)
    return switch_rules(first, second, condition, handoff=handoff)


def _algorithm_1(
    rate: Any, b1: Any, b2: Any, eps: Any, tolerance: Any, axis_name: Any
) -> Rule:
    """Algorithm 1: the learning rate is inside the projection; none after it."""
    as_rate("learning_rate", rate)  # refuses groups
    if callable(rate):
        refuse("learning_rate", "be a number with `paper`", rate)
    eps = 1e-9 if eps is None else eps
    tolerance = eps if tolerance is None else tolerance
    condition = projection_condition(
        tolerance,
        relative=False,
        min_steps=2,
        require_positive=False,
        decay=b2,
        axis_name=axis_name,
        correct_every_step=True,
    )
    first = with_learning_rate(adam_rule(b1, b2, eps, eps_hat=True), rate)
    second = _momentum(b1, nesterov=False, carry=RateState)
    return switch_rules(first, second, condition, handoff=_hand_over_rate)


def _momentum(b1: Any, nesterov: bool, carry: Any = RateFactor) -> Rule:
    """The second phase: an average of gradients, times the factor in the carry."""

    def step(t, carry):
        factor = carry[0]
        n0, n1 = (factor * (1 - b1), factor * b1) if nesterov else (0, factor)
        return Tableau(a1=b1, c1=1 - b1, n0=n0, n1=n1), carry

    return Rule(lambda: carry(as_float(1)), step, None, frozenset({"mu"}))


def _hand_over_rate(*, condition_state: Any, first: Any, second: Any) -> Any:
    del first
    return type(second)(condition_state.estimate)


@checked
def scale_by_swats(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    tolerance: Positive = 1e-3,
    tolerance_mode: Literal["relative", "absolute"] = "relative",
    min_steps: StepCount = 1000,
    max_steps: StepCount | None = None,
    require_positive: bool = True,
    estimator: Literal["average", "ratio"] = "average",
    nesterov: bool = False,
    per_leaf: bool = False,
    axis_name: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The direction of `swats`, with its arguments, without learning rate and sign."""
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
    check_axes(axis_name, trees=not per_leaf)
    return scale_by_moments(rule, per_leaf=per_leaf)


@checked
def swats(
    learning_rate: LearningRate,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative | None = None,
    *,
    tolerance: Positive | None = None,
    tolerance_mode: Literal["relative", "absolute"] = "relative",
    min_steps: StepCount = 1000,
    max_steps: StepCount | None = None,
    require_positive: bool = True,
    estimator: Literal["average", "ratio"] = "average",
    second_rate: LearningRate | None = None,
    weight_decay: WeightDecay = 0.0,
    decoupled: bool = False,
    mask: Mask | None = None,
    nesterov: bool = False,
    per_leaf: bool = False,
    axis_name: Any = None,
    paper: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Adam, then SGD with momentum at the learning rate that Adam's steps imply.

    It begins as Adam and estimates the learning rate :math:`\Lambda` that SGD would
    need for steps like Adam's, so that you do not have to search for it. When an update
    agrees with the estimate, it becomes SGD permanently, inside the jitted step. Its
    authors report that it generalizes as SGD does; on small problems we measured no
    difference from Adam. :func:`adabound` changes gradually from Adam to SGD, and
    :func:`switch` combines other optimizers. The state has Adam's two buffers in both
    phases.

    .. math::
        u &= \frac{\sqrt{1 - \beta_2^k}}{1 - \beta_1^k}
        \frac{m}{\sqrt v + \hat\epsilon}, \qquad w \leftarrow w - \eta_t u, \\
        \gamma &= \frac{u \cdot u}{u \cdot g}, \qquad
        \lambda \leftarrow \beta_2 \lambda + (1 - \beta_2) \gamma, \qquad
        \Lambda = \frac{\lambda}{1 - \beta_2^k}

    at update :math:`k = 1, 2, \dots`, with Adam's :math:`m` and :math:`v` and dot
    products over all params, until :math:`|\Lambda - \gamma| < \epsilon \Lambda`. From
    the next update on :math:`\Lambda` is fixed, :math:`m` starts at zero, and

    .. math::
        m &\leftarrow \beta_1 m + (1 - \beta_1) g, \\
        w &\leftarrow w - \eta_t \Lambda m \;\text{ or, with Nesterov, }\;
        w - \eta_t \Lambda (\beta_1 m + (1 - \beta_1) g)

    In the paper :math:`\gamma` and :math:`\Lambda` contain Adam's learning rate, and
    there is none after the switch. With a constant learning rate that is the same. Here
    a schedule scales both phases and does not change the estimate. In the paper the
    switch comes when :math:`|\Lambda - \gamma| < 10^{-9}`, which in practice never
    happens. Here the limit is a fraction of :math:`\Lambda`, and the switch comes not
    before `min_steps` and only if :math:`\Lambda > 0`.

    A gradient that is not finite, or whose :math:`u \cdot g` is 0, leaves
    :math:`\lambda` unchanged, is not counted in its :math:`k`, and does not cause the
    switch. A NaN or an infinity stays in Adam's moments, and the switch never comes:
    keep them out, for instance with ``optax.apply_if_finite``. A gradient of 1e20,
    whose square overflows, makes Adam's steps 0 for good; `max_steps` then switches
    with the last estimate. Where :math:`u \cdot g < 0`, the negative :math:`\gamma`
    enters the average, as in the paper.

    Args:
      learning_rate: :math:`\eta_t`, the learning rate. A schedule is called with the
        number of updates already made.
      b1: :math:`\beta_1`, the decay of the first moment, in both phases.
      b2: :math:`\beta_2`, the decay of Adam's second moment and of the average.
      eps: :math:`\hat\epsilon`, added to the root. None: 1e-8, or 1e-9 with `paper`.
      tolerance: :math:`\epsilon`. None: 1e-3, or the same as `eps` with `paper`.
      tolerance_mode: ``"relative"``, or ``"absolute"``:
        :math:`|\Lambda - \gamma| < \epsilon`, both without :math:`\eta_t`.
      min_steps: The first update after which it may switch; an epoch is a good choice.
      max_steps: From this update on, at least `min_steps`, it switches without
        agreement. It still waits for a first estimate, for a finite gradient and, with
        `require_positive`, for a positive estimate. None: it waits for agreement.
      require_positive: Whether it waits for a positive estimate, also past `max_steps`.
      estimator: ``"average"``, or the less noisy ``"ratio"`` of averages, as in
        :func:`projected_rate_settles`.
      second_rate: The learning rate of the second phase; :math:`\Lambda` is then only
        read. A schedule counts the second phase's own updates; with `per_leaf` it must
        be a number. None: :math:`\Lambda \eta_t`.
      weight_decay: :math:`d`, L2 weight decay: :math:`d\, w` is added to the gradient,
        so it is part of the projection, as in the paper. `update` then needs the
        params, and the sum needs one more temporary of their size.
      decoupled: Whether instead :math:`\eta_t d\, w` is subtracted from the params, in
        both phases.
      mask: The leaves that decay: a tree of bools, or a function of the params that
        returns one. None: all.
      nesterov: Whether the momentum of the second phase looks ahead.
      per_leaf: Whether every leaf has its own estimate and switches by itself.
      axis_name: The mesh axes over which to sum :math:`u \cdot u` and
        :math:`u \cdot g` inside `jax.shard_map`, as in :func:`projected_rate_settles`.
        With `per_leaf` no tree: all leaves have to be sharded over the same axes.
      paper: Whether to follow Algorithm 1 to the letter: the learning rate, a number,
        is inside the projection, and there is none after the switch; the tolerance is
        absolute; it may switch from the second update on, to an estimate of any sign.
        `tolerance_mode` and `require_positive` then have no effect. Of the other
        options only `b1`, `b2`, `eps`, `tolerance`, `weight_decay`, `mask` and
        `axis_name` may be given.

    Returns:
      An `optax.GradientTransformationExtraArgs`. :func:`learning_rate` reads
      :math:`\eta_t`, and :math:`\Lambda \eta_t` after the switch (with `paper`
      :math:`\Lambda`). ``optax.tree.get(state, name)`` reads ``"switch_step"``, the
      last update of Adam, -1 until then; ``"estimate"``, the running :math:`\Lambda`;
      ``"rate_factor"``, the :math:`\Lambda` that is used, 1 until then.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.swats(oxe.schedules.cosine(1e-3, 10_000), min_steps=500)

    References:
      Keskar and Socher, `Improving generalization performance by switching from Adam
      to SGD <https://arxiv.org/abs/1712.07628>`_, 2017
    """
    check_axes(axis_name, trees=not per_leaf)
    if paper:
        for name, got, default in (
            ("estimator", estimator, "average"),
            ("min_steps", min_steps, 1000),
            ("max_steps", max_steps, None),
            ("second_rate", second_rate, None),
            ("decoupled", decoupled, False),
            ("nesterov", nesterov, False),
            ("per_leaf", per_leaf, False),
        ):
            if got is not default and (is_traced(got) or got != default):
                refuse(name, f"be {default!r} with `paper`", got)
        rule = _algorithm_1(learning_rate, b1, b2, eps, tolerance, axis_name)
        decay = add_decayed_weights(weight_decay, mask)
        return in_float32(optax.chain(decay, scale_by_moments(rule), optax.scale(-1.0)))

    condition = projected_rate_settles(
        1e-3 if tolerance is None else tolerance,
        tolerance_mode=tolerance_mode,
        min_steps=min_steps,
        max_steps=max_steps,
        require_positive=require_positive,
        estimator=estimator,
        decay=b2,
        axis_name=axis_name,
    )
    eps = 1e-8 if eps is None else eps
    handoff = _hand_over_rate if second_rate is None else None
    rule = _adam_then_momentum(condition, b1, b2, eps, nesterov, handoff)
    direction = scale_by_moments(rule, per_leaf=per_leaf)
    l2, after = (0.0, weight_decay) if decoupled else (weight_decay, 0.0)
    l2 = add_decayed_weights(l2, mask)
    if second_rate is None:
        decay = add_decayed_weights(after, mask)
        rate = scale_by_source(rate_source("learning_rate", learning_rate))
        return freeze(
            in_float32(optax.chain(l2, direction, decay, rate)), learning_rate
        )
    if per_leaf and callable(second_rate):
        refuse("second_rate", "be a number with `per_leaf`", second_rate)
    rates = scale_by_phase_rate(direction, learning_rate, second_rate)
    # Decay follows the first learning rate in both phases.
    decayed = add_decay_with_inner_rate(
        rates, after, mask, lambda state: state.first.learning_rate
    )
    return in_float32(optax.chain(l2, decayed))
