"""Files people have, into the input collections: table imports and the sample generator."""
