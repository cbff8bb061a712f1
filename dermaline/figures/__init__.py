"""From tables to figures: one function a figure, no computing."""
