"""Labels for unlabelled samples, from a teacher that learns from a few labelled ones and the shape of all."""
