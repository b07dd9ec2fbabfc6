"""The control plane: jobs, models, deployments and their settings."""
