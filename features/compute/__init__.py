"""Arrays in, arrays out: no database, no disk, no clock. Time is an argument, seeds are parameters."""
