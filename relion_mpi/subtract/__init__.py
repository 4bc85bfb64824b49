"""Particles less the projections of a part of their map."""
