"""What supports a class, or speaks against it: decoys, their resolution, significance, local false discovery rates."""
