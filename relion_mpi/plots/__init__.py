"""Pictures of arrays: curves, slices, surfaces. Nothing here reads a result's files."""
