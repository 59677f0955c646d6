"""What becomes of updates: no rate of its own."""
