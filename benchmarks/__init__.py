"""Measurements beside peers in the same run; what a document says of speed is what one of these printed."""
