"""Ranking quality, ours beside peers: data sets, splits, models, one search for all, a table a data set."""
