"""From the name of a dataset to prepared data: a checked table, its split, its preprocessing."""
