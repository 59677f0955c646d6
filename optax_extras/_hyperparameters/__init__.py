"""Finding the numbers in a state: to read them, set them, schedule them."""
