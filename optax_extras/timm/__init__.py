"""Port a run of timm: timm's schedulers under their timm names."""

__all__ = [name for name in dir() if not name.startswith("_")]
