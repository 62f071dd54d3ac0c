"""What people ask: the FAQ, the golden set, prompts, training examples, reviews and scenarios.

The door: each module's functions, one module a kind of file (`faq.load`, `golden.load`, ...).
May import system, files, contracts and config, and of runtime `rendering` and `prompt_tokens`.
"""
