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
    weight and without a moment of switching; :func:`swats` switches, at a rate that it
    finds itself. It has the rate inside, and so no rate-free twin.

    .. math::
        \hat\eta = \mathrm{clip}\Big( \frac{\eta_t \sqrt{1 - \beta_2^t}}
            {(1 - \beta_1^t) (\sqrt{v} + \epsilon)},\; F_t
            \Big(1 - \frac{1}{\gamma t + 1}\Big),\; F_t
            \Big(1 + \frac{1}{\gamma t}\Big) \Big), \qquad
        w \leftarrow w - \hat\eta\, m

    with Adam's :math:`m` and :math:`v` and :math:`F_t = F \eta_t / \eta_1`, so that a
    schedule acts on the bounds too. That is the authors' code, with Adam's bias
    correction inside the clip and :math:`m` without one. (A warm-up that starts near 0
    makes :math:`F_t` huge: give `bounds` then.) The form of the paper has
    neither, nor the factor of the schedule, but a factor :math:`1 / \sqrt t` that its
    proof needs: :math:`w \leftarrow w - \mathrm{clip}(\eta_t / (\sqrt v + \epsilon),
    lo, hi)\, m / \sqrt t`.

    Args:
      learning_rate: :math:`\eta_t \ge 0`: a number, or a schedule, which is called with
        the number of updates already made.
      b1: :math:`\beta_1` in [0, 1).
      b2: :math:`\beta_2` in [0, 1).
      eps: :math:`\epsilon \ge 0`; the paper has none.
      final_rate: :math:`F \ge 0`, the rate of SGD at the end.
      gamma: :math:`\gamma \ge 0`, how fast the bounds close in; the paper has
        :math:`1 - \beta_2`. At 0 they never do, and there are none.
      bounds: Other bounds, as a schedule: a function from the number of updates already
        made to the pair (lower, upper), in the place of those with `final_rate` and
        `gamma`, which must then be left alone; multiplied by :math:`\eta_t / \eta_1`
        like those.
      paper: Whether it is the paper's form.
      weight_decay: :math:`\lambda \ge 0`, decoupled: :math:`\eta_t \lambda w` is
        subtracted as well.
      mask: What is decayed: a tree of bools like the params, or a function from the
        params to one. None means all.

    Returns:
      An `optax.GradientTransformationExtraArgs`; :func:`learning_rate` reads its
      :math:`\eta_t`.

    Raises:
      ValueError: If a number is out of range, the first lower bound above the upper,
        or `final_rate` or `gamma` changed together with `bounds`.
      TypeError: If a number is none, `bounds` gives no pair or `paper` is no bool.

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
    far. It keeps three buffers.

    Args:
      learning_rate: :math:`\eta_t \ge 0`: a number, or a schedule, which is called with
        the number of updates already made.
      b1: :math:`\beta_1` in [0, 1).
      b2: :math:`\beta_2` in [0, 1).
      eps: :math:`\epsilon \ge 0`; the paper has none.
      final_rate: The rate of SGD at the end, at least 0.
      gamma: How fast the bounds close in, at least 0.
      bounds: Other bounds: a function from the number of updates already made to the
        pair (lower, upper).
      paper: Whether it is the paper's form.
      weight_decay: :math:`\lambda \ge 0`, decoupled: :math:`\eta_t \lambda w` is
        subtracted as well.
      mask: What is decayed: a tree of bools like the params, or a function from the
        params to one. None means all.

    Returns:
      An `optax.GradientTransformationExtraArgs`; :func:`learning_rate` reads its
      :math:`\eta_t`.

    Raises:
      ValueError: If a number is out of range, the first lower bound above the upper,
        or `final_rate` or `gamma` changed together with `bounds`.
      TypeError: If a number is none, `bounds` gives no pair or `paper` is no bool.

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
