"""Logos beside the words of visible marks: PNG files that the operator installs, one per tenant and one for all others.

They are the operator's, so they are decoded here; no caller can bring one.
"""

import io
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ops.settings import PREFIX
from schemas.errors import Fatal
from schemas.ids import TENANT_PATTERN

SETTING = f"{PREFIX}LABEL_LOGOS"
SUFFIX, EVERYBODY = ".png", "default"
FILE_BYTES_MAX, SIDE_PX_MIN, SIDE_PX_MAX, ASPECT_MAX = 256 << 10, 16, 2048, 8
_SEEN_FROM = 16
"""Alpha (of 255) from which a pixel counts as something to see."""
RIGHT = (
    f"expected a still PNG of at most {FILE_BYTES_MAX >> 10} KiB, sides of {SIDE_PX_MIN} to {SIDE_PX_MAX} pixels, "
    f"one at most {ASPECT_MAX} times the other"
)


@dataclass(frozen=True, slots=True, eq=False)
class Logo:
    """A checked PNG file. It is kept as it came, so that a thousand of them cost little memory."""

    png: bytes = field(repr=False)
    width_px: int
    height_px: int

    def width_at(self, height_px: int) -> int:
        """Its width when it is drawn this high; even, like all that lies on chroma."""
        return max(2, round(self.width_px * height_px / self.height_px / 2) * 2)

    def drawn(self, height_px: int) -> NDArray[np.uint8]:
        """Its pixels at this height: red, green, blue, alpha; shape (height, width, 4)."""
        with Image.open(io.BytesIO(self.png), formats=("PNG",)) as image:
            size = self.width_at(height_px), height_px
            return np.asarray(image.convert("RGBA").resize(size, Image.Resampling.LANCZOS), dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Logos:
    """Whose logo is which, by tenant."""

    by_tenant: dict[str, Logo] = field(default_factory=dict)

    def of(self, tenant: str) -> Logo | None:
        """The tenant's own, or everybody's; None: nothing is drawn."""
        return self.by_tenant.get(tenant) or self.by_tenant.get(EVERYBODY)


NO_LOGOS = Logos()


def load_logos(folder: str) -> Logos:
    """All logos of a folder; "": none. Names that begin with a dot are passed over. Raises Fatal that names the file at
    fault and what would be right."""
    if not folder:
        return NO_LOGOS
    try:
        files = sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))
    except OSError as exc:
        raise Fatal(f"{SETTING}: cannot read {folder}: {exc.strerror}; give a folder of PNG files") from None
    return Logos({_tenant(path): _logo(path) for path in files})


def _tenant(path: Path) -> str:
    if path.suffix != SUFFIX or not re.match(TENANT_PATTERN, path.stem):
        raise Fatal(f"{SETTING}: {path}: expected the name of a tenant, or {EVERYBODY}, and {SUFFIX}")
    return path.stem


def _logo(path: Path) -> Logo:
    try:
        with path.open("rb") as file:
            png = file.read(FILE_BYTES_MAX + 1)
    except OSError as exc:
        raise Fatal(f"{SETTING}: cannot read {path}: {exc.strerror}; {RIGHT}") from None
    if len(png) > FILE_BYTES_MAX:
        raise Fatal(f"{SETTING}: {path} is too large; {RIGHT}")
    try:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
            size, frames = image.size, getattr(image, "n_frames", 1)
            # Nothing is decoded before its size is known to be small.
            if not SIDE_PX_MIN <= min(size) <= max(size) <= min(SIDE_PX_MAX, ASPECT_MAX * min(size)) or frames > 1:
                raise Fatal(f"{SETTING}: {path} has {size[0]}x{size[1]} pixels, {frames} pictures; {RIGHT}")
            alpha = np.asarray(image.convert("RGBA"))[..., 3]
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as exc:
        raise Fatal(f"{SETTING}: {path} cannot be read as PNG ({exc}); {RIGHT}") from None
    if alpha.max() < _SEEN_FROM:
        raise Fatal(f"{SETTING}: {path} is transparent all over; give a logo that can be seen")
    return Logo(png, *size)
