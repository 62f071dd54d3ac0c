"""Makes the base model, fine-tunes it with DeepSpeed and PEFT, and checks the trained weights.

The door: `base_sources` (copy a base model), `base_model` (make one), `base_facts` (its receipt),
`launch` (train) and `weights` (check); the rest runs inside the ranks. May import system, files,
contracts and config.
"""
