"""How many instances a demand needs, how they would answer, and what a whole plan asks for and costs.

The models know tables only (``columns``); the simulator makes the tables they learn from, and at run time they need
onnxruntime and nothing else.
"""
