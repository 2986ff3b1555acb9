"""MongoDB to Parquet: everything known up to a bound, with what can't be read set aside and counted."""
