"""Port a run of Hugging Face's Trainer: the schedules of ``transformers``."""

__all__ = [name for name in dir() if not name.startswith("_")]
