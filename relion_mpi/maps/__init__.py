"""Solvent masks, and operations on one map."""
