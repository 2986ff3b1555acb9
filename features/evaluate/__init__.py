"""Is a release good enough to be served? Arrays in, numbers and a verdict out."""
