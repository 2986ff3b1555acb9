"""Who played, liked or skipped what was recommended to them, and how well each strategy did: after the fact."""
