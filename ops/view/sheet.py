"""One picture of many videos: a row per job with its prompt and frames. Pure: pictures in, a picture out."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

CELL_PX = 128
GAP_PX = 6
TEXT_PX = 330
FONT_PX = 14
BACK, INK, DIM, BAD = (250, 250, 248), (20, 20, 24), (110, 110, 118), (190, 30, 40)


@dataclass(frozen=True, slots=True)
class Row:
    """One job."""

    title: str
    lines: tuple[str, ...]
    """Prompts, or why there are no pictures; wrapped to the width of the text column."""
    pictures: tuple[Image.Image, ...]
    bad: bool = False


def contact_sheet(rows: Sequence[Row], columns: int) -> Image.Image:
    """All rows under each other, two side by side when there are many, so that the sheet fits a screen's width.

    columns: most pictures of a row; each is scaled into a cell of 128 x 128 px.
    """
    blocks = 2 if len(rows) > 8 else 1
    per_block = -(-len(rows) // blocks)
    row_px = CELL_PX + GAP_PX
    block_px = TEXT_PX + columns * (CELL_PX + GAP_PX) + GAP_PX
    sheet = Image.new("RGB", (block_px * blocks, per_block * row_px + GAP_PX), BACK)
    for number, row in enumerate(rows):
        _draw(sheet, row, (number // per_block) * block_px + GAP_PX, (number % per_block) * row_px + GAP_PX)
    return sheet


def _draw(sheet: Image.Image, row: Row, x: int, y: int) -> None:
    draw = ImageDraw.Draw(sheet)
    title, text = ImageFont.load_default(size=FONT_PX + 2), ImageFont.load_default(size=FONT_PX)
    draw.text((x, y), row.title, font=title, fill=BAD if row.bad else INK)
    line_y = y + FONT_PX + 10
    for line in wrapped(row.lines, text, TEXT_PX - 3 * GAP_PX):
        if line_y + FONT_PX > y + CELL_PX:
            break
        draw.text((x, line_y), line, font=text, fill=DIM)
        line_y += FONT_PX + 4
    for number, picture in enumerate(row.pictures):
        small = picture.convert("RGB")
        small.thumbnail((CELL_PX, CELL_PX))
        left = x + TEXT_PX + number * (CELL_PX + GAP_PX)
        sheet.paste(small, (left, y + (CELL_PX - small.height) // 2))


def wrapped(lines: Sequence[str], font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width_px: int) -> list[str]:
    """Lines broken between words so that none is wider than `width_px` (a longer word stands alone)."""
    found: list[str] = []
    for line in lines:
        current = ""
        for word in line.split(" "):
            longer = f"{current} {word}".strip()
            if current and font.getlength(longer) > width_px:
                found.append(current)
                current = word
            else:
                current = longer
        found.append(current)
    return found
