"""The registry's web UI and its JSON twin."""
