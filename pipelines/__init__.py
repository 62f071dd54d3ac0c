"""The pipeline: `python -m pipelines --help`. Start at dvc.yaml, then stages/, then the rooms."""
