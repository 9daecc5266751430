"""Names a model folder by its content, and refuses folders that could run code.

A chunk's name contains its model's revision, so the revision must say what the weights are: for a folder it is the
digest made here. Pickle formats (.bin, .pt, .pkl, .ckpt ...) and Python files are refused: loading either can run
foreign code.

`python -m gpu_consumers.models.digest FOLDER` prints the line for the registry.
"""

import hashlib
import sys
from pathlib import Path

from schemas.errors import Fatal

COVERED = frozenset({".safetensors", ".json", ".model", ".txt", ".jinja"})
"""Weights, configurations, and tokenizer files (SentencePiece .model, vocab.txt and merges.txt)."""
REFUSED = frozenset(
    {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".py", ".pyc", ".so"}
)


def digest(folder: Path) -> str:
    """ "sha256:<16 hex>" over names and bytes of all covered files, in the order of their names.

    Each file counts as <length of name> name <SHA-256 of content>, so no two different folders share an input. Other
    files (a README, pictures) do not count. Raises Fatal when the folder is missing or has no weights.
    """
    files = {f.relative_to(folder).as_posix(): f for f in folder.rglob("*") if f.suffix in COVERED and f.is_file()}
    if not any(name.endswith(".safetensors") for name in files):
        raise Fatal(f"model folder {folder} has no .safetensors file")
    whole = hashlib.sha256()
    for name in sorted(files):
        with files[name].open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").digest()
        raw = name.encode()
        whole.update(len(raw).to_bytes(8, "big") + raw + content)
    return f"sha256:{whole.hexdigest()[:16]}"


def refuse_code(folder: Path) -> None:
    """Raises Fatal that names the first file that is, or may hide, executable code."""
    found = sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.suffix.lower() in REFUSED)
    if found:
        raise Fatal(
            f"model folder {folder} contains {found[0]}: only safetensors weights and no Python files are loaded, "
            "because pickle formats and custom code can run anything; remove or convert it"
        )


def verify(folder: Path, revision: str) -> None:
    """Raises Fatal unless the folder is free of code and its digest is `revision`."""
    refuse_code(folder)
    found = digest(folder)
    if found != revision:
        raise Fatal(
            f"model folder {folder} has digest {found} but the registry says {revision!r}: "
            "the weights were changed; put the right folder there, or the new digest into the registry"
        )


if __name__ == "__main__":
    print(f'revision = "{digest(Path(sys.argv[1]))}"')
