"""From interactions and embeddings to ranked lists with reasons: arrays in, arrays out."""
