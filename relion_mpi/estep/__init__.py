"""The expectation step on batches of particles; no MPI and no files."""
