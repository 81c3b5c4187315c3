"""Files of weights: where they are, what is in them, and whether they fit."""
