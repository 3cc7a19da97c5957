"""Statistics of embedding tables, and the bands that are learned from accepted ones."""
