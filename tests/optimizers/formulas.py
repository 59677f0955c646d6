"""The papers' rules in NumPy: generators of directions, without learning rate."""

import numpy as np


def rmsprop(
    grads,
    decay=0.99,
    eps=1e-8,
    initial="first_gradient",
    centered=False,
    eps_in_root=False,
    momentum=0.0,
):
    """Tieleman and Hinton, centered as by Graves, with PyTorch's momentum."""
    v, m, z = None if initial == "first_gradient" else 0.0, 0.0, 0.0
    for g in grads:
        v = g**2 if v is None else decay * v + (1 - decay) * g**2
        m = decay * m + (1 - decay) * g
        # Rounding must not make the variance negative; 0 / 0 gives no step.
        inside = np.maximum(v - m**2, 0) if centered else v
        root = np.sqrt(inside + eps) if eps_in_root else np.sqrt(inside) + eps
        z = momentum * z + np.divide(g, root, out=np.zeros_like(g), where=g != 0)
        yield z


def nadam(grads, b1=0.9, b2=0.999, eps=1e-8, momentum_decay=0.004):
    """Dozat 2016, algorithm 2, with the momentum schedule of its section 3."""

    def mu(t):
        return b1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))

    m, v, product = 0.0, 0.0, 1.0
    for t, g in enumerate(grads, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        product *= mu(t)
        ahead = mu(t + 1) * m / (1 - product * mu(t + 1))
        top = (1 - mu(t)) * g / (1 - product) + ahead
        yield top / (np.sqrt(v / (1 - b2**t)) + eps)


def amsgrad(grads, b1=0.9, b2=0.999, eps=1e-8, bias_correction=True, eps_hat=False):
    """Reddi et al., algorithm 2; bias correction, if any, follows the maximum."""
    m, v, top = 0.0, 0.0, 0.0
    for t, g in enumerate(grads, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        top = np.maximum(top, v)
        m_gain, v_gain = 1 - b1**t, 1 - b2**t
        if not bias_correction:
            u = m / (np.sqrt(top) + eps)
        elif eps_hat:
            u = np.sqrt(v_gain) / m_gain * m / (np.sqrt(top) + eps)
        else:
            u = m / m_gain / (np.sqrt(top / v_gain) + eps)
        yield u


def quotient(top, bottom):
    """The quotient, where 0 / 0 is 0."""
    return np.divide(top, bottom, out=np.zeros_like(top), where=top != 0)


def adamax(grads, b1=0.9, b2=0.999, eps=1e-8, eps_in_maximum=True):
    """Kingma and Ba, algorithm 2, with PyTorch's epsilon or with Keras'."""
    m, top = 0.0, 0.0
    inside, outside = (eps, 0.0) if eps_in_maximum else (0.0, eps)
    for t, g in enumerate(grads, 1):
        m, top = b1 * m + (1 - b1) * g, np.maximum(b2 * top, np.abs(g) + inside)
        yield quotient(m / (1 - b1**t), top + outside)


def adadelta(grads, rho=0.9, eps=1e-6):
    """Zeiler, algorithm 1."""
    v, d = 0.0, 0.0
    for g in grads:
        v = rho * v + (1 - rho) * g**2
        u = quotient(np.sqrt(d + eps) * g, np.sqrt(v + eps))
        d = rho * d + (1 - rho) * u**2
        yield u


def adagrad(grads, eps=1e-10, lr_decay=0.0, initial_accumulator_value=0.0):
    """Duchi et al. with diagonal matrices, as PyTorch has it."""
    h = initial_accumulator_value
    for t, g in enumerate(grads):
        h = h + g**2
        yield quotient(g, np.sqrt(h) + eps) / (1 + t * lr_decay)


def rprop(
    grads,
    first=0.01,
    eta_minus=0.5,
    eta_plus=1.2,
    min_step_size=1e-6,
    max_step_size=50.0,
):
    """Igel and Huesken's iRprop-: no step where the sign changes. Learning rate 1."""
    size, previous = np.full(grads.shape[1:], first), np.zeros(grads.shape[1:])
    for g in grads:
        for i in np.ndindex(g.shape):
            product = g[i] * previous[i]
            factor = eta_plus if product > 0 else eta_minus if product < 0 else 1
            size[i] = min(max(size[i] * factor, min_step_size), max_step_size)
            previous[i] = 0 if product < 0 else g[i]
        yield np.sign(previous) * size
