"""A progress bar, where tqdm is installed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(total: int, unit: str) -> Iterator[Callable[[int], object]]:
    """A function to say how much more is done; a bar appears if it takes long."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda more: None
        return
    with tqdm(total=total, unit=unit, delay=2, leave=False) as bar:
        yield bar.update
