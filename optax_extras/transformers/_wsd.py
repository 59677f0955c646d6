"""Warm-up, a constant learning rate, decay."""

from typing import Any, Literal

from optax_extras._checks import IntegralSteps, IntegralStepsOrZero, NonNegative
from optax_extras._errors import refuse
from optax_extras._numerics import as_float, elapsed, remaining
from optax_extras.schedules import _curve
from optax_extras.schedules._curve import Schedule, interpolate, steps_after
from optax_extras.schedules._wsd import SHAPES
from optax_extras.transformers import _unsupported
from optax_extras.transformers._waves import at_least_one, wave


@_unsupported.scheduler
def get_wsd_schedule(
    lr: NonNegative,
    num_warmup_steps: IntegralStepsOrZero,
    num_decay_steps: IntegralStepsOrZero,
    num_training_steps: IntegralSteps | None = None,
    num_stable_steps: IntegralStepsOrZero | None = None,
    warmup_type: Literal["linear", "cosine", "1-sqrt"] = "linear",
    decay_type: Literal["linear", "cosine", "1-sqrt"] = "cosine",
    min_lr_ratio: NonNegative = 0,
    num_cycles: NonNegative = 0.5,
) -> Schedule:
    r"""Transformers' ``get_wsd_schedule``: warm-up, constant learning rate, decay.

    The three phases take :math:`W, S, D` updates. `oxe.schedules.wsd` has a linear
    warm-up only, and other decays. With :math:`x` the elapsed fraction of the phase,
    and the values of `warmup_type` and `decay_type` in the order below:

    .. math::
        \text{warm-up: } & f(x) = x, \quad \tfrac12 (1 - \cos \pi x), \quad
            1 - \sqrt{1 - x} \\
        \text{decay: } & f(x) = 1 - x, \quad \tfrac12 (1 + \cos 2 \pi n x), \quad
            1 - \sqrt x \\
        & \eta_t = \eta\, (r + (1 - r) f(x))

    So the warm-up starts at :math:`r \eta`, and at 0 only if :math:`r` is 0. After the
    three phases the learning rate stays :math:`r \eta`.

    If the run is shorter than the warm-up and the decay together, transformers starts
    in the middle of the decay; that raises a ValueError here. Transformers warns if it
    gets both `num_training_steps` and `num_stable_steps`. Here as there,
    `num_stable_steps` is then used.

    Args:
      lr: The learning rate :math:`\eta` of the stable phase.
      num_warmup_steps: Updates :math:`W` of the warm-up.
      num_decay_steps: Updates :math:`D` of the decay.
      num_training_steps: Updates of the run, :math:`W + S + D`.
      num_stable_steps: Updates :math:`S` of the stable phase. Give one of the two.
      warmup_type: The shape of the warm-up.
      decay_type: The shape of the decay.
      min_lr_ratio: The first and the last learning rate as a fraction :math:`r` of
        `lr`.
      num_cycles: The number :math:`n` of waves of the decay ``"cosine"``.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.transformers.get_wsd_schedule(
      ...     0.1, 10, 20, num_training_steps=110
      ... )
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 90, 100, 110)]
      [0.0, 0.05, 0.1, 0.1, 0.05, 0.0]
    """
    if num_stable_steps is None:
        steps = num_warmup_steps, num_decay_steps, num_training_steps
        num_stable_steps = _stable_steps(*steps)

    low = as_float(lr) * min_lr_ratio

    def rise(t):
        # A rise is the decay with its fractions exchanged.
        x, r = elapsed(t, num_warmup_steps), remaining(t, num_warmup_steps)
        return interpolate(low, lr, SHAPES[warmup_type](r, x))

    def fall(t):
        x, r = elapsed(t, num_decay_steps), remaining(t, num_decay_steps)
        if decay_type == "cosine":
            fraction = wave(t, at_least_one(num_decay_steps), num_cycles)
        else:
            fraction = SHAPES[decay_type](x, r)
        return interpolate(low, lr, fraction)

    decay = _curve.in_turn([fall, lambda t: low], [num_decay_steps])
    after = _curve.in_turn([lambda t: lr, decay], [num_stable_steps])
    return _curve.in_turn([rise, after], [num_warmup_steps])


def _stable_steps(warmup: Any, decay: Any, total: Any) -> Any:
    if total is None:
        refuse("num_training_steps", "be given, or `num_stable_steps`", None)
    known = all(isinstance(n, int) for n in (warmup, decay, total))
    if known and total < warmup + decay:
        must = f"be at least the {warmup} + {decay} of the warm-up and the decay"
        refuse("num_training_steps", must, total)
    return steps_after(decay, steps_after(warmup, total))
