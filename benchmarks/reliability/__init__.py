"""What was done to the pipeline so that it might lose something, and what it lost: a module a trial."""
