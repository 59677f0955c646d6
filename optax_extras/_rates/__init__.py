"""Where the step size comes from: numbers, schedules, and reading what was applied."""
