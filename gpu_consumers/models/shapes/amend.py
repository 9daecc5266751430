"""How the shipped weights differ from the trained ones: words added to the text encoder without any training.

`python -m gpu_consumers.models.shapes.amend TRAINED OUT`

The shipped weights were trained before captions.py had imperative wordings, so "fall" was spelled out in letters that
mean nothing to the model, while "falls" is a word it knows. Here every base form gets its own token, whose embedding is
a copy of that of the form it knows, and the tokenizer gets NORMALISED_PHRASES. All other embeddings stay what they
were. A folder made by train.py has all this from the start and needs no amending.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from gpu_consumers.models.shapes.text_encoder import NORMALISED_PHRASES, WORD_START

SAME_MEANING = {
    "go": "goes", "drift": "drifts", "slide": "slides", "glide": "glides", "fly": "flies", "travel": "travels",
    "float": "floats", "head": "heads", "run": "runs", "rise": "rises", "ascend": "ascends", "climb": "climbs",
    "fall": "falls", "drop": "drops", "descend": "descends", "sink": "sinks", "stay": "stays", "stand": "stands",
    "rest": "rests",
}  # fmt: skip
"""Word -> known word whose embedding it gets. "rest" was known, but from "at rest" only, and alone often misread."""


def amend(trained: Path, out: Path) -> None:
    """Copies the model folder `trained` to `out` (which must not exist) with the new words."""
    shutil.copytree(trained, out)
    tokenizer_file, config_file = out / "tokenizer" / "tokenizer.json", out / "text_encoder" / "config.json"
    weights_file = out / "text_encoder" / "model.safetensors"
    tokenizer, config = json.loads(tokenizer_file.read_text()), json.loads(config_file.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    ids = {word: number for number, (word, _) in enumerate(vocabulary)}
    sources = {WORD_START + word: ids[WORD_START + known] for word, known in SAME_MEANING.items()}
    added = {word: source for word, source in sources.items() if word not in ids}
    vocabulary += [[word, vocabulary[source][1]] for word, source in added.items()]
    steps = tokenizer["normalizer"]["normalizers"]
    for pattern, word in NORMALISED_PHRASES.items():
        steps.append({"type": "Replace", "pattern": {"Regex": pattern}, "content": word})
    weights = load_file(weights_file)
    embeddings = weights["shared.weight"]
    for word, source in sources.items():
        if word in ids:
            embeddings[ids[word]] = embeddings[source]
    weights["shared.weight"] = torch.cat([embeddings, embeddings[list(added.values())]])
    config["vocab_size"] = len(vocabulary)
    save_file(weights, weights_file, metadata={"format": "pt"})
    weights_file.chmod(0o644)  # safetensors makes files that only their owner can read
    tokenizer_file.write_text(json.dumps(tokenizer, indent=2, ensure_ascii=False) + "\n")
    config_file.write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="amend", description="Adds base verb forms to a trained shapes model.")
    parser.add_argument("trained", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    amend(arguments.trained, arguments.out)
