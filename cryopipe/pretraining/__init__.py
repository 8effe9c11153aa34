"""Training of the transfer encoder on simulated boxes: recipe, boxes, run."""
