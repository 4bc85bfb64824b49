"""One picture a function, from what was gathered to SVG or images; nothing is read here."""
