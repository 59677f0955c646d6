"""Read the applied learning rate; read, set or schedule any number of an optimizer."""
