"""What a run has done so far: jobs, time left, and a page that shows both while the run goes on."""
