"""Dermaline: reproducible skin-lesion classification on HAM10000, orchestrated by DVC."""
