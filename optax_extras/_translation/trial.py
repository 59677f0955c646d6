"""A trial step: the translated optimizer beside what its source would do."""

from typing import Any

import jax
import jax.numpy as jnp

from optax_extras._errors import refuse
from optax_extras._translation.report import TranslationReport, TranslationRow
from optax_extras._types import Params, State, Updates


def with_trial(
    report: TranslationReport,
    source: tuple[Any, State],
    target: tuple[Any, State],
    params: Params,
    gradients: Updates,
) -> TranslationReport:
    """The report with a row for the largest difference of the two next updates.

    `source` and `target` are optimizers with their states.
    """
    kinds = [jax.tree.structure(x) for x in (gradients, params)]
    if kinds[0] != kinds[1]:
        refuse("gradients", "have the params' tree structure", kinds[0])
    for x, y in zip(*map(jax.tree.leaves, (gradients, params)), strict=True):
        if jnp.shape(x) != jnp.shape(y):
            refuse(
                "gradients", f"have the params' shapes: {jnp.shape(y)}", jnp.shape(x)
            )
    predicted, updates = (
        jax.tree.leaves(tx.update(gradients, state, params)[0])
        for tx, state in (source, target)
    )
    longest, largest, epsilon = 0.0, 0.0, 0.0
    for u, v in zip(predicted, updates, strict=True):
        if u.size and jnp.issubdtype(u.dtype, jnp.inexact):
            longest = max(longest, float(jnp.max(jnp.abs(u))))
            largest = max(largest, float(jnp.max(jnp.abs(u - v))))
            epsilon = max(epsilon, float(jnp.finfo(u.dtype).eps))
    ulps = largest / (longest * epsilon) if longest else 0.0
    share = largest / longest if longest else 0.0
    row = TranslationRow(
        "trial step",
        "its next step",
        "compared",
        exact=ulps <= _ROUNDING,
        ulps=ulps,
        note=f"the largest difference is {share:.1e} of the longest step",
    )
    return TranslationReport((*report.rows, row))


_ROUNDING = 64.0  # ulps of the longest step: two formulas for the same rule differ so
