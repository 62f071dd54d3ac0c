"""Everything that also runs inside Triton: the models, and what they share with the pipeline.

The export copies this folder whole into each version folder of the model repository, so modules
here import each other relatively (`from . import peer`) and nothing else of ours. Other rooms
import the modules directly. `assistant`, `embedder`, `entry` and `generator` are the models; they
and what only they use (`exchange`, `metrics`) load only inside Triton.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
