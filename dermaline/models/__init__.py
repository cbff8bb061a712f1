"""The networks: backbone, pretrained weights, saving and loading."""
