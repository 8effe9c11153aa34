"""The page that shows a run's results, and the lines that close a run."""
