"""The pipeline: `python -m pipelines --help`. Start reading at dvc.yaml, then stages/, then rooms."""
