"""Adam and AdamW."""

import jax.numpy as jnp
import optax

from optax_extras._check_values import is_positive
from optax_extras._checks import (
    Decay,
    DecayOrSchedule,
    FloatingDtype,
    LearningRate,
    Mask,
    NonNegative,
    WeightDecay,
    checked_by_path,
    checked_rule,
)
from optax_extras._errors import refuse
from optax_extras._kernel._assemble import chain_decay_and_rate
from optax_extras._kernel._weight_decay import is_zero
from optax_extras._kernel.rule import Rule, as_schedule
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._kernel.tableau import Tableau
from optax_extras._numerics import as_uint32, one_minus_power


@checked_rule
def adam_rule(
    b1: DecayOrSchedule = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    eps_root: NonNegative = 0.0,
    nesterov: bool = False,
    eps_hat: bool = False,
) -> Rule:
    r"""Adam, to combine with other rules; alone it is :func:`optax_extras.adam`.

    .. math::
        m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad
        v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        u = \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    With `eps_hat`, the second form in the paper, :math:`\epsilon` is added to the root
    before the bias correction:

    .. math::
        u = \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \frac{m}{\sqrt v + \hat\epsilon}

    With `nesterov`, :math:`\beta_1 m / (1 - \beta_1^{t + 1}) + (1 - \beta_1) g / (1 -
    \beta_1^t)` replaces :math:`m / (1 - \beta_1^t)`, as in Optax; :func:`rules.nadam`
    is the paper's form.

    Args:
      b1: :math:`\beta_1`, the decay of the first moment. A schedule is called with the
        number of updates that this rule has already made; its values are not checked.
        The bias correction is :math:`1 - \beta_1^t` with the current :math:`\beta_1`,
        as in PyTorch.
      b2: :math:`\beta_2`, the decay of the second moment.
      eps: :math:`\epsilon` (or :math:`\hat\epsilon`), added to the denominator.
      eps_root: Added to :math:`v / (1 - \beta_2^t)` inside the root; 0 with `eps_hat`.
      nesterov: Look ahead along the new moment.
      eps_hat: Use the second form, as in Keras.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.scale_by_moments(oxe.rules.adam(b1=0.9, b2=0.95))

    References:
      Kingma and Ba, `Adam: A method for stochastic optimization
      <https://arxiv.org/abs/1412.6980>`_, 2015
    """
    b1_at = as_schedule("b1", b1)
    has_root = not is_zero(eps_root)
    if eps_hat and has_root:
        refuse("eps_root", "be 0 with `eps_hat`", eps_root)

    def step(t, carry):
        b1 = b1_at(t - 1)
        square = one_minus_power(b2, t)
        root = jnp.sqrt(square)
        n0, n1 = 0, 1 / one_minus_power(b1, t)
        if nesterov:  # as uint32: t may be 2**31 - 1, and int32 would wrap
            n0, n1 = (1 - b1) * n1, b1 / one_minus_power(b1, as_uint32(t) + 1)
        return Tableau(
            a1=b1, c1=1 - b1, a2=b2, c2=1 - b2, n0=n0, n1=n1, s=root, d=1,
            e=eps if eps_hat else eps * root, k=eps_root * square if has_root else 0,
        ), carry  # fmt: skip

    moments = {"n0", "n1"} if is_positive(b1) else set()
    never_zero = {"s"} | (moments if nesterov else {"n1"})
    return Rule(lambda: (), step, never_zero=frozenset(never_zero))


@checked_by_path
def adam(
    learning_rate: LearningRate,
    b1: DecayOrSchedule = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    mu_dtype: FloatingDtype | None = None,
    *,
    nesterov: bool = False,
    eps_hat: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Adam, with the arguments and numbers of ``optax.adam``.

    Unlike Optax's it stores its learning rate, so that :func:`learning_rate` reads it,
    takes a metric schedule for it, and computes in float32 at least: for half-precision
    params the moments are float32, and an update is rounded once.

    .. math::
        w_t = w_{t-1} - \eta_t \frac{m_t / (1 - \beta_1^t)}
            {\sqrt{v_t / (1 - \beta_2^t) + \epsilon_r} + \epsilon}

    with the averages :math:`m_t` of the gradients, `mu` in the state, and :math:`v_t`
    of their squares, `nu`.

    Args:
      learning_rate: The learning rate :math:`\eta_t`.
      b1: :math:`\beta_1`, the decay of the first moment. A schedule works as in
        :func:`rules.adam`.
      b2: :math:`\beta_2`, the decay of the second moment.
      eps: :math:`\epsilon`, added to the denominator.
      eps_root: :math:`\epsilon_r`, added inside the root; above 0 if derivatives pass
        through the optimizer.
      mu_dtype: The dtype of `mu`. None: the params', float32 at least.
      nesterov: Look ahead, as in :func:`rules.adam`; :func:`nadam` is the paper's form.
      eps_hat: Add :math:`\epsilon` before the bias correction, as in Keras.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.adam(oxe.schedules.cosine(1e-3, 1000))

    References:
      Kingma and Ba, `Adam: A method for stochastic optimization
      <https://arxiv.org/abs/1412.6980>`_, 2015
    """
    return adamw(
        learning_rate, b1, b2, eps, eps_root, mu_dtype, 0.0,
        nesterov=nesterov, eps_hat=eps_hat,
    )  # fmt: skip


@checked_by_path
def adamw(
    learning_rate: LearningRate,
    b1: DecayOrSchedule = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    mu_dtype: FloatingDtype | None = None,
    weight_decay: WeightDecay = 1e-4,
    mask: Mask | None = None,
    *,
    nesterov: bool = False,
    eps_hat: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r""":func:`adam` with decoupled weight decay, as ``optax.adamw``.

    .. math::
        w_t = w_{t-1} - \eta_t\, (u_t + \lambda w_{t-1})

    with Adam's direction :math:`u_t`. PyTorch's decay is 0.01 by default, Optax' and
    this one's 0.0001.

    Args:
      learning_rate: The learning rate :math:`\eta_t`.
      b1: :math:`\beta_1`, the decay of the first moment.
      b2: :math:`\beta_2`, the decay of the second moment.
      eps: :math:`\epsilon`, added to the denominator.
      eps_root: Added inside the root, as in :func:`adam`.
      mu_dtype: The dtype of `mu`. None: the params', float32 at least.
      weight_decay: :math:`\lambda`, the decoupled weight decay.
      mask: The leaves that decay: a tree of bools, or a function of the params that
        returns one. None: all. The biases of scanned layers have two axes, so that
        ``p.ndim > 1`` also decays them; :func:`by_path` selects them by name.
      nesterov: Look ahead, as in :func:`rules.adam`.
      eps_hat: Add :math:`\epsilon` before the bias correction, as in Keras.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.adamw(3e-4, b2=0.95, weight_decay=0.1)

    References:
      Loshchilov and Hutter, `Decoupled weight decay regularization
      <https://arxiv.org/abs/1711.05101>`_, 2019
    """
    rule = adam_rule(b1, b2, eps, eps_root=eps_root, nesterov=nesterov, eps_hat=eps_hat)
    direction = scale_by_moments(rule, mu_dtype=mu_dtype)
    return chain_decay_and_rate(direction, learning_rate, weight_decay, mask)
