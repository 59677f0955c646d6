"""Groups of params: values by path, layer-wise decay, widths."""
