"""From raw files to batches: the table, packing, near-duplicates, the split, the batches."""
