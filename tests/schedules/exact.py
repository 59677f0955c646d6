"""The reference formula of every schedule: exact phases and 50-digit values.

Python integers and `fractions` compute the phase, `decimal` the value.
"""

from bisect import bisect_right
from decimal import Decimal, getcontext
from fractions import Fraction
from functools import cache
from itertools import pairwise
from math import ceil

getcontext().prec = 50
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494")


def exact(x):
    """A number as a Decimal; a fraction is divided out."""
    if isinstance(x, Fraction):
        return Decimal(x.numerator) / Decimal(x.denominator)
    return Decimal(x)


def cos(x):
    """The cosine of a Decimal in [0, 2 pi], by its series."""
    term, total, n = Decimal(1), Decimal(1), 0
    while abs(term) > Decimal("1e-45"):
        n += 2
        term *= -x * x / (n * (n - 1))
        total += term
    return total


def interpolate(end, start, fraction):
    return exact(end) + (exact(start) - exact(end)) * exact(fraction)


def half_wave(x):
    """(1 + cos(pi x)) / 2."""
    return (1 + cos(PI * exact(x))) / 2


def remaining(t, horizon):
    return Fraction(max(0, horizon - t), horizon) if horizon else Fraction(0)


def piecewise_constant(t, values, boundaries):
    return exact(values[sum(b <= t for b in boundaries)])


def step(t, init_value, step_size, factor=0.1):
    return exact(init_value) * exact(factor) ** (t // step_size)


def multistep(t, init_value, milestones, factor=0.1):
    many = isinstance(factor, list)
    factors = factor if many else [factor] * len(milestones)
    value = exact(init_value)
    for milestone, f in zip(milestones, factors, strict=True):
        value *= exact(f) if milestone <= t else 1
    return value


def exponential(t, init_value, decay_rate, transition_steps=1):
    power = exact(Fraction(t, transition_steps)) * exact(decay_rate).ln()
    return exact(init_value) * power.exp()


def inverse_time(t, init_value, decay_rate, transition_steps=1, staircase=False):
    time = Fraction(t, transition_steps)
    time = time.__floor__() if staircase else time
    return exact(init_value) / (1 + exact(decay_rate) * exact(time))


def inverse_sqrt(t, peak_value, timescale):
    tau = exact(timescale)
    return exact(peak_value) * (tau / (tau + t)).sqrt()


def polynomial(t, init_value, transition_steps, power=1.0, end_value=0.0, cycle=False):
    turns = max(1, ceil(Fraction(t, transition_steps))) if cycle else 1
    r = exact(remaining(t, transition_steps * turns))
    fraction = (r.ln() * exact(power)).exp() if r else Decimal(0)
    return interpolate(end_value, init_value, fraction)


def linear(t, init_value, transition_steps, end_value=0.0):
    return interpolate(end_value, init_value, remaining(t, transition_steps))


def cosine(t, init_value, decay_steps, end_value=0.0, periodic=False):
    elapsed = 1 - remaining(t, decay_steps)
    if periodic:
        elapsed = Fraction(t, decay_steps) % 2
    return interpolate(end_value, init_value, half_wave(elapsed))


def rex(t, init_value, decay_steps, end_value=0.0):
    r = remaining(t, decay_steps)
    return interpolate(end_value, init_value, r / (Fraction(1, 2) + r / 2))


def cyclic(
    t,
    base_value,
    peak_value,
    up_steps,
    down_steps=None,
    mode="triangular",
    gamma=1.0,
    scale_fn=None,
    scale_mode="cycle",
    peak_decay=1.0,
    floor_decay=1.0,
):
    down_steps = up_steps if down_steps is None else down_steps
    cycle, place = divmod(t, up_steps + down_steps)
    height = Fraction(place, up_steps)
    if place > up_steps:
        height = Fraction(up_steps + down_steps - place, down_steps)
    scales = {
        "triangular": Decimal(1),
        "triangular2": Decimal(2) ** -cycle,
        "exp_range": exponential(t, 1, gamma),
    }
    scale_argument = cycle + 1 if scale_mode == "cycle" else t
    scale = exact(scale_fn(scale_argument)) if scale_fn else scales[mode]
    floor = exponential(cycle, base_value, floor_decay)
    peak = exponential(cycle, peak_value, peak_decay)
    return interpolate(floor, peak, exact(height) * scale)


@cache
def all_cycles(period, period_mult):
    """The exact beginnings and lengths of the cycles, as fractions."""
    mult, start, length, found = Fraction(str(period_mult)), 0, Fraction(period), []
    while start < 2**31:
        found.append((start, length))
        start, length = start + length, length * mult
    return found


def cycle_starts(period, period_mult, last):
    """The cycles that have begun by step `last`."""
    cycles = all_cycles(period, period_mult)
    return cycles[: bisect_right(cycles, last, key=lambda cycle: cycle[0])]


def warm_restarts(
    t,
    peak_value,
    period,
    period_mult=1,
    end_value=0.0,
    peak_decay=1.0,
    floor_decay=1.0,
    swing_decay=1.0,
    cycles=None,
):
    if Fraction(str(period_mult)) == 1:
        cycle, place = divmod(t, period)
        phase = Fraction(place, period)
    else:
        starts = cycle_starts(period, period_mult, t)
        cycle, (start, length) = len(starts) - 1, starts[-1]
        phase = Fraction(t - start) / length
    if cycles is not None and cycle >= cycles:
        cycle, phase = cycles - 1, Fraction(1)
    floor = exponential(cycle, end_value, floor_decay)
    peak = exponential(cycle, peak_value, peak_decay)
    return interpolate(
        floor, peak, half_wave(phase) * exponential(cycle, 1, swing_decay)
    )


def restarts(t, period, period_mult=1, cycles=None):
    """Whether a cycle after the first begins at step t."""
    if Fraction(str(period_mult)) == 1:
        begun = [t // period] if t % period == 0 else []
    else:
        starts = cycle_starts(period, period_mult, t)
        begun = [i for i, (start, _) in enumerate(starts) if ceil(start) == t]
    return any(i >= 1 and (cycles is None or i < cycles) for i in begun)


def _anneal_along(t, ends, values, anneal):
    """The curve through the first value at step 0 and the others at the ends."""
    start = Fraction(0)
    for end, (a, b) in zip(ends, pairwise(values), strict=True):
        if t <= end or end == ends[-1]:
            x = (Fraction(t) - start) / (end - start) if end > start else Fraction(1)
            fraction = half_wave(x) if anneal == "cos" else exact(1 - x)
            return interpolate(b, a, fraction)
        start = end
    raise AssertionError


def one_cycle_ends(total_steps, pct_start, three_phase):
    turn = Fraction(float(pct_start * total_steps))
    turns = [turn - 1, 2 * turn - 2] if three_phase else [turn - 1]
    return [*turns, Fraction(total_steps - 1)]


def one_cycle(
    t,
    peak_value,
    total_steps,
    pct_start=0.3,
    div_factor=25.0,
    final_div_factor=1e4,
    anneal="cos",
    three_phase=False,
):
    first = exact(peak_value) / exact(div_factor)
    last = first / exact(final_div_factor)
    values = [first, exact(peak_value), *([first] if three_phase else []), last]
    ends = one_cycle_ends(total_steps, pct_start, three_phase)
    return _anneal_along(min(t, total_steps - 1), ends, values, anneal)


def one_cycle_momentum(
    t, total_steps, pct_start=0.3, anneal="cos", three_phase=False, low=0.85, high=0.95
):
    values = [high, low, *([high] if three_phase else []), high]
    ends = one_cycle_ends(total_steps, pct_start, three_phase)
    return _anneal_along(min(t, total_steps - 1), ends, values, anneal)


def wsd(
    t,
    peak_value,
    warmup_steps,
    stable_steps,
    decay_steps,
    init_value=0.0,
    end_value=0.0,
    decay="linear",
):
    if t < warmup_steps:
        return interpolate(init_value, peak_value, Fraction(t, warmup_steps))
    t -= warmup_steps
    if t < stable_steps:
        return exact(peak_value)
    x = Fraction(min(t - stable_steps, decay_steps), decay_steps) if decay_steps else 1
    fractions = {
        "linear": lambda: exact(1 - x),
        "cosine": lambda: half_wave(x),
        "1-sqrt": lambda: 1 - exact(x).sqrt(),
        "exponential": lambda: 2 * (-exact(x) * Decimal(2).ln()).exp() - 1,
    }
    return interpolate(end_value, peak_value, fractions[decay]())


def warmup(t, steps, then, init_value=0.0):
    if t >= steps:
        return then(t - steps)
    return interpolate(init_value, then(0), Fraction(t, steps))


def cooldown(t, schedule, start, steps, end_value=0.0):
    if t < start:
        return schedule(t)
    return interpolate(
        end_value, schedule(start), remaining(t - start, steps) if steps else 0
    )


def sequence(t, schedules, boundaries):
    k = sum(b <= t for b in boundaries)
    return schedules[k](t - [0, *boundaries][k])


def product(t, *schedules):
    value = Decimal(1)
    for schedule in schedules:
        value *= schedule(t)
    return value


def repeat(t, schedule, period):
    return schedule(t % period)
