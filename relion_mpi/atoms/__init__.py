"""Atomic models and their density."""
