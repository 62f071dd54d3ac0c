"""Adoption: makes a clone the user's own, and brings the sample back.

A set is what people wrote about a corpus: FAQ, golden set, questions about documents, drafts,
scenarios, and the values of params.yaml that fit it. One set is in use; the rest lies in
data/aside/<name>. It may import corpus, questions, system, files, contracts and config.
"""
