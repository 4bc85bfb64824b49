"""Shells, pixel lists, masks and filters in Fourier and real space."""
