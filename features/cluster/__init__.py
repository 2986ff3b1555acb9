"""Work on other processes and machines: shards on a Dask cluster. Needs the extra `dask`."""
