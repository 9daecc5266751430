"""One module per model family: turns chunk specs into frames. `renderer.load` picks the module by name."""
