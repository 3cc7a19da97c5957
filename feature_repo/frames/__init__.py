"""The parts of a training frame: events, content of items, what requests bring, networks."""
