"""The outline of the lesion: a U-Net, and how well it agrees with the outlines that are known."""
