"""The checks of the maps in words."""

WORDS = {
    "inside": "share of the map inside the lesion",
    "pointing": "share of the images with the map's maximum inside the lesion",
    "deletion": "area under the probability while what is marked is taken away (less is better)",
    "insertion": "area under the probability while what is marked is put back",
    "random_weights": "rank correlation with maps of random weights, without its sign (to be under 0.5)",
}
