"""What travels between iterations."""
