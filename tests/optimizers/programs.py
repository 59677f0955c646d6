"""Counts the operations of a program in its jaxpr."""

from collections import Counter

# These move or relabel data and compute nothing.
FREE = {"broadcast_in_dim", "copy", "convert_element_type"}


def inner_jaxprs(equation):
    for value in equation.params.values():
        value = getattr(value, "jaxpr", value)
        if hasattr(value, "eqns"):
            yield value


def alive(jaxpr):
    """The equations whose results are used; XLA removes the others."""
    used, kept = set(map(id, jaxpr.outvars)), []
    for equation in reversed(jaxpr.eqns):
        if any(id(out) in used for out in equation.outvars):
            used |= set(map(id, equation.invars))
            kept.append(equation)
    return kept


def work(jaxpr, shape):
    """How often each primitive produces a value of this shape."""
    found = Counter()
    for equation in alive(jaxpr):
        inner = list(inner_jaxprs(equation))
        for each in inner:
            found += work(each, shape)
        sized = any(out.aval.shape == shape for out in equation.outvars)
        if sized and not inner and equation.primitive.name not in FREE:
            found[equation.primitive.name] += 1
    return found
