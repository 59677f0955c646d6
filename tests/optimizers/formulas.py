"""The papers' rules in NumPy: generators of directions, without rate and sign."""

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
    """Tieleman and Hinton, centred as by Graves, with PyTorch's momentum."""
    v, m, z = None if initial == "first_gradient" else 0.0, 0.0, 0.0
    for g in grads:
        v = g**2 if v is None else decay * v + (1 - decay) * g**2
        m = decay * m + (1 - decay) * g
        # A variance; in exact arithmetic at least 0, and 0 / 0 is no step.
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
    """Reddi et al., algorithm 2, uncorrected or with Adam's corrections afterwards."""
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
