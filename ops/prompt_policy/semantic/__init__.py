"""The check of meaning: all-MiniLM-L6-v2 turns a text into a vector, a small trained head and the nearness to blocked
examples turn the vector into scores by category.

encoder.py and graph.py run the model (onnxruntime, no torch); head.py is pure; head.safetensors is what
`python -m stream_processors.moderate.examples.train` made.
"""
