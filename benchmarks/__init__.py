"""Benchmarks of cryopipe: published tables, throughput, scale, and the training of its encoder."""
