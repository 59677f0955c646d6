"""Keras' optimizers and schedules, by its names and with its numbers."""

__all__ = [name for name in dir() if not name.startswith("_")]
