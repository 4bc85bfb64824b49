"""Particles cut out of micrographs."""
