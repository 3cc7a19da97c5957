"""What crosses the borders between rooms: settings, errors, ids, tables, reports, manifests, messages.

Nothing here imports torch, Feast, MLflow or Great Expectations, so every command can afford to load it.
"""
