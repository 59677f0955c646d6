"""Transformations, or rules, in; one of the same kind out."""
