"""Makes the base model, fine-tunes it with DeepSpeed and PEFT, and checks the trained weights.

The door: `base_model` (copy or make), `launch` (train) and `weights` (check); the rest runs inside
the ranks. May import system, files, contracts and config.
"""
