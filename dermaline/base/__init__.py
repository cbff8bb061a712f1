"""What every stage stands on: the classes, errors, files, the parameters' kinds, and versions of packages."""
