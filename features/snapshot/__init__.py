"""MongoDB to Parquet: everything known up to a bound, with what can't be read set aside and counted."""

import warnings

# pymongoarrow was built against another patch release of pyarrow; the sizes differ, the layout it uses does not.
warnings.filterwarnings("ignore", r"pyarrow\.lib\.\w+ size changed", RuntimeWarning)
