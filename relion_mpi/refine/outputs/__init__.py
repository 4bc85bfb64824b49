"""RELION's output files of a refinement, written beside the next iteration."""
