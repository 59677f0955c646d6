"""AdaBound and AMSBound: Adam that turns into SGD gradually, weight by weight."""

from typing import Any

import optax
from jax.typing import ArrayLike

from optax_extras import rules
from optax_extras._optimizers._decay import Mask, decayed
from optax_extras.rules._adabound import Bounds
from optax_extras.rules._kernel import Rule, scale_by_moments


def adabound(
    learning_rate: ArrayLike | optax.Schedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    *,
    final_rate: ArrayLike = 0.1,
    gamma: ArrayLike = 1e-3,
    bounds: Bounds = None,
    paper: bool = False,
    weight_decay: ArrayLike = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Adam whose rate for each weight is held between bounds that close in.

    It begins as Adam and ends as SGD with momentum at the rate `final_rate`, weight by
    weight and without a moment of switching. Prefer it where that rate is known;
    :func:`swats` finds the rate itself and switches at once. Bounds on a rate need the
    rate inside: there is no ``scale_by_adabound``.

    .. math::
        \hat\eta = \mathrm{clip}\Big( \frac{\eta_t \sqrt{1 - \beta_2^t}}
            {(1 - \beta_1^t) (\sqrt{v} + \epsilon)},\; F_t
            \Big(1 - \frac{1}{\gamma t + 1}\Big),\; F_t
            \Big(1 + \frac{1}{\gamma t}\Big) \Big), \qquad
        w \leftarrow w - \hat\eta\, m

    at update :math:`t = 1, 2, \dots`, with Adam's :math:`m` and :math:`v`. The factor
    :math:`F_t` is :math:`F \eta_t / \eta_1`, so that a schedule acts on the bounds too
    (:math:`F` for a number, or where :math:`\eta_1 = 0`). Behind a warm-up it is thus
    larger than :math:`F`: multiply `final_rate` by the first rate over the highest one.

    That is the authors' code: Adam's bias correction stands inside the clip, and
    :math:`m` has none. The paper's form has no correction and always :math:`F_t = F`,
    but it divides the step by :math:`\sqrt t`, which its proof needs:
    :math:`w \leftarrow w - \mathrm{clip}(\eta_t / (\sqrt v + \epsilon), lo, hi)\, m /
    \sqrt t`, between the same bounds.

    Args:
      learning_rate: :math:`\eta_t \ge 0`: a number, a schedule, which is called with
        the number of updates already made, or a metric schedule.
      b1: :math:`\beta_1` in [0, 1).
      b2: :math:`\beta_2` in [0, 1).
      eps: :math:`\epsilon \ge 0`; the paper has none.
      final_rate: :math:`F \ge 0`, the rate of SGD at the end.
      gamma: :math:`\gamma \ge 0`, how fast the bounds close in; the paper has
        :math:`1 - \beta_2`. After :math:`1 / \gamma` updates they are :math:`F_t / 2`
        and :math:`2 F_t`; at 0 there are none.
      bounds: Other bounds in the place of those two: a function, traceable, from the
        number of updates already made to the pair (lower, upper). It is multiplied by
        :math:`\eta_t / \eta_1` as they are. None: those of the formula.
      paper: Whether to take the paper's form.
      weight_decay: :math:`\lambda \ge 0`, decoupled: :math:`\eta_t \lambda w` is
        subtracted as well, for which `update` needs the params.
      mask: What is decayed: a tree of bools like the params, or a function from the
        params to one. None means all.

    Returns:
      An `optax.GradientTransformationExtraArgs`; :func:`learning_rate` reads its
      :math:`\eta_t`, ``optax.tree.get(state, "mu")`` its :math:`m`, ``"nu"`` its
      :math:`v`.

    Raises:
      ValueError: If a number is out of range, the first lower bound above the upper,
        or `final_rate` or `gamma` not at its default together with `bounds`.
      TypeError: If an argument is not of the kind said above, or `bounds` does not
        return a pair of real numbers.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.adabound(1e-3, final_rate=0.1)

    References:
      Luo et al., `Adaptive gradient methods with dynamic bound of learning rate
      <https://arxiv.org/abs/1902.09843>`_, 2019
    """
    options: dict[str, Any] = {"final_rate": final_rate, "gamma": gamma}
    options |= {"bounds": bounds, "paper": paper}
    rule = rules.adabound(learning_rate, b1, b2, eps, **options)
    return _downhill("adabound", rule, weight_decay, mask)


def amsbound(
    learning_rate: ArrayLike | optax.Schedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    *,
    final_rate: ArrayLike = 0.1,
    gamma: ArrayLike = 1e-3,
    bounds: Bounds = None,
    paper: bool = False,
    weight_decay: ArrayLike = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    r""":func:`adabound` whose second moment never shrinks, as in :func:`amsgrad`.

    In the formula of :func:`adabound`, :math:`v` is replaced by its largest value so
    far, entry by entry; it is corrected after the maximum is taken. It keeps three
    buffers, :func:`adabound` two.

    Args:
      learning_rate: :math:`\eta_t \ge 0`: a number, a schedule, which is called with
        the number of updates already made, or a metric schedule.
      b1: :math:`\beta_1` in [0, 1).
      b2: :math:`\beta_2` in [0, 1).
      eps: :math:`\epsilon \ge 0`; the paper has none.
      final_rate: :math:`F \ge 0`, the rate of SGD at the end.
      gamma: :math:`\gamma \ge 0`, how fast the bounds close in; at 0 there are none.
      bounds: Other bounds in the place of those two: a function, traceable, from the
        number of updates already made to the pair (lower, upper). None: those of
        :func:`adabound`.
      paper: Whether to take the paper's form.
      weight_decay: :math:`\lambda \ge 0`, decoupled: :math:`\eta_t \lambda w` is
        subtracted as well, for which `update` needs the params.
      mask: What is decayed: a tree of bools like the params, or a function from the
        params to one. None means all.

    Returns:
      An `optax.GradientTransformationExtraArgs`; :func:`learning_rate` reads its
      :math:`\eta_t`, ``optax.tree.get(state, "nu_max")`` the largest :math:`v` so far.

    Raises:
      ValueError: If a number is out of range, the first lower bound above the upper,
        or `final_rate` or `gamma` not at its default together with `bounds`.
      TypeError: If an argument is not of the kind said above, or `bounds` does not
        return a pair of real numbers.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.amsbound(1e-3, gamma=1e-4)

    References:
      Luo et al., `Adaptive gradient methods with dynamic bound of learning rate
      <https://arxiv.org/abs/1902.09843>`_, 2019
    """
    options: dict[str, Any] = {"final_rate": final_rate, "gamma": gamma}
    options |= {"bounds": bounds, "paper": paper}
    rule = rules.amsbound(learning_rate, b1, b2, eps, **options)
    return _downhill("amsbound", rule, weight_decay, mask)


def _downhill(name: str, rule: Rule, weight_decay: Any, mask: Mask) -> Any:
    tx = optax.chain(scale_by_moments(rule), optax.scale(-1.0))
    return decayed(name, tx, weight_decay, mask)
