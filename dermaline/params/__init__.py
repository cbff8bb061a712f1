"""The typed view of `params.yaml`, the only place where a hyper-parameter stands; a stage imports what it reads."""
