"""Names for trees and scalars that type checkers cannot describe."""

from typing import Any, TypeAlias

Params: TypeAlias = Any
"""A tree of arrays."""
Updates: TypeAlias = Any
"""A tree like the params: gradients, directions or updates; a leaf may be None."""
State: TypeAlias = Any
"""The state of a transformation: a tree of arrays."""
Carry: TypeAlias = Any
"""The scalars that a rule carries from one update to the next: a tree."""
