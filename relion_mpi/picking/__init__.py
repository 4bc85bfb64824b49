"""Particles in micrographs: by templates or by blobs, and how good picks are."""
