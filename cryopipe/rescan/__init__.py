"""Search of tomograms with the averages of their own classes."""
