"""Training: data sets in mini-batches, optimisers, and parameters kept in files."""
