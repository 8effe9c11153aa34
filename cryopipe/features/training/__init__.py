"""Training: the loop, the source of boxes, devices, compilation and several processes."""
