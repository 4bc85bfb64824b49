"""Local resolution: the FSC within windows all over a map, and the map filtered by it."""
