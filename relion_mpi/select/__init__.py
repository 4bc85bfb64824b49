"""Particles of chosen classes, as files for the next job."""
