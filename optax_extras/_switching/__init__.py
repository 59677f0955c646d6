"""One optimizer after another: `switch`, its conditions, `restart`, `swats`."""
