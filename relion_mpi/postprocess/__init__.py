"""Curves, sharpening and files that follow a refinement of two half-sets."""
