"""Knows DeepSpeed and PEFT: launch.py starts the ranks, worker.py is one rank, operator.py compiles what the CPU needs."""
