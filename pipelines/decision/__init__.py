"""Deciding about a candidate: its scores, the rules of the gate, the champion and the ledger.

The door is its modules: `systems`, `answer_rows` and `scoring` measure, `rules` judges, `champions`
reads the released model, `ledger` records, `release_files` brings a release back. May import pages,
training, questions, vectorstore, runtime, system, files, contracts and config.
"""
