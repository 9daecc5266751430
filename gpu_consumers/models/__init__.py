"""The model registry file and the project's own models."""
