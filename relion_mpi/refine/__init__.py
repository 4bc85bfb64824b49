"""Refinement: orchestration, schedule and outputs; reads like the paper's algorithm."""
