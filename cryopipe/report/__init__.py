"""HTML report and closing text summary of a run."""
