"""The checks of the maps in words."""

from collections.abc import Collection

WORDS = {
    "inside": "share of the map inside the lesion",
    "pointing": "share of the images with the map's maximum inside the lesion",
    "deletion": "area under the probability while what is marked is taken away (less is better)",
    "insertion": "area under the probability while what is marked is put back",
    "random_weights": "rank correlation with maps of random weights, without its sign (to be under 0.5)",
}


def passed(checks: Collection[str]) -> str:
    """What is said of maps that have passed all of these checks: without outlines the most telling were not made."""
    left = [name for name in WORDS if name not in checks]
    return f"{len(checks)} checks passed; not made: {', '.join(left)}" if left else "all checks passed"
