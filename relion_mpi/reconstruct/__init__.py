"""Maps from particles whose poses are known."""
