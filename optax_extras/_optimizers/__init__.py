"""Optimizers: a learning rate in, a gradient transformation out."""
