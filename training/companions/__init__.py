"""What stands beside IRIS in its paper: scene and action features, preference prediction, correlated labels."""
