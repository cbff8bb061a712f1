"""The commands beside the pipeline, one a module: `add_arguments` says what it takes, `main` does it."""
