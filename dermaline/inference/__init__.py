"""From images to probabilities: what every user of a trained model shares."""
