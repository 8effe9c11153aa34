"""What supports a class, or speaks against it: decoys, significance, what else predicts its labels, neighbours, detection limits."""
