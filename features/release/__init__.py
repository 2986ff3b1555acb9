"""One version of everything: built on disk, checked, uploaded, verified, switched to, read, rolled back."""
