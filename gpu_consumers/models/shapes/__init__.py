"""The project's own tiny text-to-video model: a closed world, its training recipe, judge and weights. See CARD.md."""
