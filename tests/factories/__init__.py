"""Data that tests make: maps, poses, pixel lists, batches; everything from seeds."""
