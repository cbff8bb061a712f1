"""Whether an image is a dermatoscopic photograph at all: features of a network that knows no lesions, their density."""
