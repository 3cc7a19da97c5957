"""Versions, aliases, gates, promotion, rollback and their audit."""
