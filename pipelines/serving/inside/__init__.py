"""What runs inside Triton: each file is copied into the model repository and imports only its neighbours there, nothing of the pipeline."""
