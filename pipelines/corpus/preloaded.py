"""What reading processes share: the model that tells languages, unpacked where they are forked from instead of in each (half a second of processor time).

Imported in the fork server alone, which is why it works when it is imported.
"""

from py3langid.langid import classify

classify("")
