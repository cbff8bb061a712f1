"""Where the images come from: one module a source, all writing the same raw files."""
