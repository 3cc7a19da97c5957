"""The read model of the registry: MLflow's versions as rows that sort, filter and search at once."""
