"""A command's place in a RELION project: its job folder, and its row in the project's file."""
